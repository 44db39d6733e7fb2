// A Modbus device made of npm's modbus-serial. Argument: JSON {port, holding, input, coil, discrete, limits, ...}, values by address;
// what is not there is an illegal address, a holding register outside its limits an illegal value; a write to `reveals` makes the next
// address exist; the unit `silent` never answers. Writes to addresses in `once` are refused the second
// time, in `mute` never answered, in `slow` show later, in `stuck` never. Prints the port.
const { ServerTCP } = require("modbus-serial");

const device = JSON.parse(process.argv[2]);
const fail = (code) => { throw Object.assign(new Error("refused"), { modbusErrorCode: code }); };
const get = (area) => (at) => (at in (device[area] || {}) ? device[area][at] : fail(2));
const written = {};
const is = (what, at) => (device[what] || []).includes(at);
const set = (area) => (at, value) => {
    get(area)(at);
    const [low, high] = (device.limits || {})[at] || [-Infinity, Infinity];
    if (area === "holding" && (value < low || value > high)) fail(3);
    if (is("once", at) && (written[at] = (written[at] || 0) + 1) > 1) fail(4);
    if (is("mute", at)) return new Promise(() => {});
    if (is("slow", at)) return void setTimeout(() => (device[area][at] = value), 500);
    if (!is("stuck", at)) device[area][at] = value;
    if (area === "holding" && at === device.reveals) device.holding[at + 1] = value;
};
const server = new ServerTCP({
    getHoldingRegister: (at, unit) => (device.silent === unit ? new Promise(() => {}) : get("holding")(at)), getInputRegister: get("input"), getCoil: get("coil"), getDiscreteInput: get("discrete"),
    setRegister: set("holding"),
    setRegisterArray: (at, values) => Promise.all(values.map((value, k) => set("holding")(at + k, value))), // a part may stay
    setCoil: set("coil"),
}, { host: "127.0.0.1", port: String(device.port || 0), unitID: 255 });
server.on("initialized", () => console.log(server._server.address().port));
