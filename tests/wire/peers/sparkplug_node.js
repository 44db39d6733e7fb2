// A Sparkplug B edge node by Cirrus Link's library: node sparkplug_node.js PORT. It is steered by lines on its standard input.
const { newClient } = require("sparkplug-client");
const readline = require("readline");

const port = process.argv[2];
let temperature = 20.5, setpoint = 55.0, count = -5, quality = undefined;
const client = newClient({
  serverUrl: `mqtt://127.0.0.1:${port}`, username: "", password: "", groupId: "plant", edgeNode: "edge", clientId: "node-" + process.pid,
  version: "spBv1.0", publishDeath: true, keepalive: 2,
});
const at = () => Date.now();
const metrics = () => [
  { name: "Temperature", alias: 1, value: temperature, type: "Double", timestamp: at() },
  { name: "Set Point", alias: 2, value: setpoint, type: "Float", timestamp: at() },
  { name: "Count", alias: 3, value: count, type: "Int16", timestamp: at() },
  { name: "Running", alias: 4, value: true, type: "Boolean", timestamp: at() },
  { name: "Mode", alias: 5, value: "RCAS", type: "String", timestamp: at() },
];
const data = (list) => client.publishDeviceData("line", { timestamp: at(), metrics: list });
function birth() {
  client.publishNodeBirth({ timestamp: at(), metrics: [{ name: "Node Control/Rebirth", type: "Boolean", value: false }] });
  client.publishDeviceBirth("line", { timestamp: at(), metrics: metrics() });
}
client.on("birth", () => { birth(); console.log("ready"); });
client.on("ncmd", (payload) => { console.log("rebirth"); birth(); });
client.on("dcmd", (device, payload) => {
  for (const m of payload.metrics) if (m.name === "Set Point") {
    setpoint = m.value;
    data([{ name: "Set Point", value: setpoint, type: "Float", timestamp: at() }]);
  }
});
client.on("error", (e) => { console.log("error " + e); process.exit(1); });
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [what, text] = line.split(" "), number = Number(text);
  if (what === "temperature") data([{ name: "Temperature", value: (temperature = number), type: "Double", timestamp: at() }]);
  if (what === "alias") data([{ alias: 3, value: (count = number), type: "Int16", timestamp: at() }]);
  if (what === "history") data([{ name: "Temperature", value: number, type: "Double", timestamp: at() - 60000, isHistorical: true }]);
  if (what === "null") data([{ name: "Temperature", value: null, isNull: true, type: "Double", timestamp: at() }]);
  if (what === "gap") client.incrementSeqNum(), data([{ name: "Temperature", value: number, type: "Double", timestamp: at() }]);
  if (what === "many") for (let k = 0; k < number; k++) data([{ name: "Temperature", value: k, type: "Double", timestamp: at() }]);
  if (what === "death") client.publishDeviceDeath("line", { timestamp: at() });
  if (what === "birth") client.publishDeviceBirth("line", { timestamp: at(), metrics: metrics() });
  if (what === "stop") { client.stop(); setTimeout(() => process.exit(0), 200); }
});
