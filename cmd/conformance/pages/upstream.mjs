// A server of MCP 2025-11-25 on stdio with two tools, of which one ends the process.
import { createInterface } from "node:readline";

const tools = ["read_note", "die"].map((name) => ({ name, inputSchema: { type: "object" } }));
const results = {
  initialize: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "notes", version: "1.2.3" } },
  "tools/list": { tools },
  "tools/call": { content: [{ type: "text", text: "a note" }] },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (params?.name === "die") process.exit(1);
  if (id === undefined) continue;
  const answer = results[method] ? { result: results[method] } : { error: { code: -32601, message: "Method not found" } };
  console.log(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
}
