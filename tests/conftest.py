from llmtrace.testing.frozen import freeze

freeze()
