// A stub in place of the model of Claude Code and Codex: a server for the Anthropic Messages API and the OpenAI Responses
// API. It calls the planned tools one by one and ends with a text that quotes their results. It records the tools that the
// client offers and the results that it returns.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';

export class Model {
  plan = []; // the calls of the next run: { tool, args }
  tools = []; // the names in the last request
  results = []; // of the calls, as text
  #server;

  // listen returns the base URL.
  async listen() {
    this.#server = createServer(async (req, res) => {
      const api = { '/v1/messages': anthropic, '/v1/responses': openai }[new URL(req.url, 'http://localhost').pathname];
      if (req.method !== 'POST' || !api) return res.writeHead(404).end();
      try {
        const body = await json(req);
        const tools = api.tools(body);
        // Requests without tools are for other purposes, such as a title.
        if (tools.length > 0) {
          this.tools = tools;
          this.results = api.results(body);
        }
        const next = tools.length > 0 && this.plan[this.results.length];
        const [type, text] = api.answer(body, next, `Done: ${this.results.join(' | ')}`);
        res.writeHead(200, { 'content-type': type }).end(text);
      } catch (error) {
        console.error(error);
        res.writeHead(500).end();
      }
    });
    await new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

const stream = (events) => ['text/event-stream', events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('')];
const asText = (content) => (typeof content === 'string' ? content : (content ?? []).map((part) => part.text ?? '').join('\n'));

const anthropic = {
  tools: (body) => (body.tools ?? []).map((tool) => tool.name),
  results: (body) => body.messages
    .flatMap((message) => (Array.isArray(message.content) ? message.content : []))
    .filter((part) => part.type === 'tool_result')
    .map((part) => asText(part.content)),
  answer(body, call, text) {
    const block = call
      ? { type: 'tool_use', id: `toolu_${randomUUID()}`, name: call.tool, input: call.args }
      : { type: 'text', text };
    const message = {
      id: 'msg_1', type: 'message', role: 'assistant', model: body.model, content: [block],
      stop_reason: call ? 'tool_use' : 'end_turn', stop_sequence: null, usage: { input_tokens: 1, output_tokens: 1 },
    };
    if (!body.stream) return ['application/json', JSON.stringify(message)];
    return stream([
      { type: 'message_start', message: { ...message, content: [], stop_reason: null } },
      { type: 'content_block_start', index: 0, content_block: call ? { ...block, input: {} } : { ...block, text: '' } },
      {
        type: 'content_block_delta', index: 0,
        delta: call ? { type: 'input_json_delta', partial_json: JSON.stringify(call.args) } : { type: 'text_delta', text },
      },
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: message.stop_reason, stop_sequence: null }, usage: { output_tokens: 1 } },
      { type: 'message_stop' },
    ]);
  },
};

const openai = {
  // The tools of an MCP server are in a namespace.
  tools: (body) => (body.tools ?? []).flatMap((tool) =>
    tool.type === 'namespace' ? tool.tools.map((inner) => `${tool.name}__${inner.name}`) : [tool.name ?? tool.type]),
  results: (body) => body.input
    .filter((item) => item.type === 'function_call_output')
    .map((item) => asText(item.output)),
  answer(body, call, text) {
    const [, namespace, name] = call ? call.tool.match(/^(mcp__[^_]+)__(.+)$/) : [];
    const item = call
      ? { type: 'function_call', id: 'fc_1', call_id: `call_${randomUUID()}`, namespace, name, arguments: JSON.stringify(call.args) }
      : { type: 'message', id: 'msg_1', role: 'assistant', content: [{ type: 'output_text', text }] };
    return stream([
      { type: 'response.created', response: { id: 'resp_1' } },
      { type: 'response.output_item.done', output_index: 0, item },
      { type: 'response.completed', response: { id: 'resp_1', usage: { input_tokens: 1, output_tokens: 1, total_tokens: 2 } } },
    ]);
  },
};
