// Calls of unmodified JavaScript clients, as an application would make them.
//
// `node node_clients.cjs CASE PROMPT` with CLIENT_MODULES naming the folder that has the clients.
// Its output is that of python_clients.py. Nothing here knows of a gateway.
"use strict";
const { createRequire } = require("node:module");
const client = createRequire(`${process.env.CLIENT_MODULES}/`);

const tell = (event, fields) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

async function heard(stream, textOf) {
  let found = "";
  for await (const event of stream) {
    const piece = textOf(event) || "";
    if (piece && !found) tell("first", {});
    found += piece;
  }
  return found;
}

const openai = () => new (client("openai").default)();
const anthropic = () => new (client("@anthropic-ai/sdk").default)();
const gemini = () => new (client("@google/genai").GoogleGenAI)({ apiKey: "fake" });
const said = (prompt) => [{ role: "user", content: prompt }];
const claude = (prompt) => ({
  model: "claude-sonnet-4-5", max_tokens: 64, messages: said(prompt),
});

const cases = {
  async openai_chat(prompt) {
    const answer = await openai().chat.completions.create({
      model: "gpt-4o", messages: said(prompt),
    });
    return { text: answer.choices[0].message.content, tokens: answer.usage.total_tokens };
  },
  async openai_chat_stream(prompt) {
    const stream = await openai().chat.completions.create({
      model: "gpt-4o", messages: said(prompt), stream: true,
      stream_options: { include_usage: true },
    });
    return { text: await heard(stream, (chunk) => chunk.choices[0]?.delta?.content) };
  },
  async openai_responses_stream(prompt) {
    const stream = await openai().responses.create({
      model: "gpt-5", input: prompt, stream: true,
    });
    const textOf = (event) => event.type === "response.output_text.delta" && event.delta;
    return { text: await heard(stream, textOf) };
  },
  async anthropic_messages(prompt) {
    const answer = await anthropic().messages.create(claude(prompt));
    return { text: answer.content[0].text, tokens: answer.usage.output_tokens };
  },
  async anthropic_messages_stream(prompt) {
    const stream = await anthropic().messages.create({ ...claude(prompt), stream: true });
    const textOf = (event) => event.type === "content_block_delta" && event.delta.text;
    return { text: await heard(stream, textOf) };
  },
  async gemini_stream(prompt) {
    const stream = await gemini().models.generateContentStream({
      model: "gemini-2.5-flash", contents: prompt,
    });
    return { text: await heard(stream, (chunk) => chunk.text) };
  },
};

cases[process.argv[2]](process.argv[3]).then(
  (result) => tell("result", result),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exitCode = 1;
  },
);
