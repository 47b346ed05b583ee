// Unmodified JavaScript clients, asked one thing after another; errors are told, not hidden.
//
// `node enforced_clients.cjs CASE PROMPT…` with CLIENT_MODULES naming the folder that has the
// clients. Its output is that of enforced_clients.py. Nothing here knows of a gateway.
"use strict";
const { createRequire } = require("node:module");
const client = createRequire(`${process.env.CLIENT_MODULES}/`);

const openai = () => new (client("openai").default)();
const anthropic = () => new (client("@anthropic-ai/sdk").default)();
const gemini = () => new (client("@google/genai").GoogleGenAI)({ apiKey: "fake" });
const said = (prompt) => [{ role: "user", content: prompt }];
const names = ["run_shell", "Bash", "Write"];
const schema = { type: "object", properties: {} };
const functions = names.map((name) => ({ name, parameters: schema }));
const chat = (prompt) => ({
  model: "gpt-4o",
  messages: said(prompt),
  tools: functions.map((one) => ({ type: "function", function: one })),
});
const responses = (prompt) => ({
  model: "gpt-5",
  input: prompt,
  tools: functions.map((one) => ({ type: "function", strict: false, ...one })),
});
const claude = (prompt) => ({
  model: "claude-sonnet-4-5",
  max_tokens: 64,
  messages: said(prompt),
  tools: names.map((name) => ({ name, input_schema: schema })),
});

function chatAnswer({ message, finish_reason }, heard) {
  heard.text = message.content || "";
  heard.tools = (message.tool_calls || []).map((call) => [
    call.function.name, JSON.parse(call.function.arguments),
  ]);
  heard.finish = finish_reason;
}

function response(answer, heard) {
  const items = answer.output;
  const texts = items.filter((item) => item.type === "message").flatMap((item) => item.content);
  heard.text = texts.map((part) => part.text).join("");
  heard.tools = items
    .filter((item) => item.type === "function_call")
    .map((call) => [call.name, JSON.parse(call.arguments)]);
  heard.finish = answer.status;
}

function message(answer, heard) {
  const of = (type) => answer.content.filter((block) => block.type === type);
  heard.text = of("text").map((block) => block.text).join("");
  heard.tools = of("tool_use").map((block) => [block.name, block.input]);
  heard.finish = answer.stop_reason;
}

const cases = {
  async openai_chat(prompt, heard) {
    const answer = await openai().chat.completions.create(chat(prompt));
    chatAnswer(answer.choices[0], heard);
  },
  async openai_chat_stream(prompt, heard) {
    const stream = openai().chat.completions.stream({ ...chat(prompt), stream: true });
    stream.on("content", (piece) => { heard.text += piece; });
    chatAnswer((await stream.finalChatCompletion()).choices[0], heard);
  },
  async openai_responses(prompt, heard) {
    response(await openai().responses.create(responses(prompt)), heard);
  },
  async openai_responses_stream(prompt, heard) {
    const request = { ...responses(prompt), stream: true };
    for await (const event of await openai().responses.create(request)) {
      if (event.type === "response.output_text.delta") heard.text += event.delta;
      if (event.type === "response.completed") response(event.response, heard);
    }
  },
  async anthropic_messages(prompt, heard) {
    message(await anthropic().messages.create(claude(prompt)), heard);
  },
  async anthropic_messages_stream(prompt, heard) {
    const stream = anthropic().messages.stream(claude(prompt));
    stream.on("text", (piece) => { heard.text += piece; });
    message(await stream.finalMessage(), heard);
  },
  async gemini_stream(prompt, heard) {
    const tools = [{ functionDeclarations: names.map((name) => ({ name })) }];
    const request = { model: "gemini-2.5-flash", contents: prompt, config: { tools } };
    for await (const chunk of await gemini().models.generateContentStream(request)) {
      for (const candidate of chunk.candidates || []) {
        for (const part of candidate.content?.parts || []) {
          heard.text += part.text || "";
          if (part.functionCall) heard.tools.push([part.functionCall.name, part.functionCall.args]);
        }
        heard.finish = candidate.finishReason || heard.finish;
      }
    }
  },
};

function told(error) {
  const names = [];
  for (let kind = error.constructor; kind && kind.name; kind = Object.getPrototypeOf(kind)) {
    names.push(kind.name);
  }
  return { names, status: error.status ?? null, message: String(error.message) };
}

async function run() {
  for (const prompt of process.argv.slice(3)) {
    const heard = { text: "", tools: [], finish: "" };
    try {
      await cases[process.argv[2]](prompt, heard);
    } catch (error) {
      heard.error = told(error);
    }
    process.stdout.write(`${JSON.stringify(heard)}\n`);
  }
}

run();
