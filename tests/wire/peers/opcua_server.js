// A node-opcua server, told over stdin what to do, one JSON object a line.
// Argument: JSON with `port` (0: the system chooses), `folder` (for its certificates), `certificate`, `key`, `user`, `password`.
// Prints its port, then one line for each command.
const say = (text) => process.stdout.write(`${text}\n`);
console.log = console.error; // what the library has to say
const net = require("net");
const readline = require("readline");
const {
  OPCUAServer, OPCUACertificateManager, Variant, DataType, StatusCodes, StatusCode, coerceStatusCode, DataValue,
  MessageSecurityMode, SecurityPolicy, standardUnits,
} = require("node-opcua");

const told = JSON.parse(process.argv[2]);

const freePort = () => new Promise((done) => {
  const probe = net.createServer();
  probe.listen(0, "127.0.0.1", () => { const { port } = probe.address(); probe.close(() => done(port)); });
});

(async () => {
  const port = told.port || await freePort();
  const manager = (name) => new OPCUACertificateManager({
    rootFolder: `${told.folder}/${name}`, automaticallyAcceptUnknownCertificate: true,
  });
  const server = new OPCUAServer({
    port,
    host: "127.0.0.1",
    serverInfo: { applicationUri: "urn:test:node-opcua" },
    serverCertificateManager: manager("pki"),
    userCertificateManager: manager("users"),
    ...(told.certificate ? { certificateFile: told.certificate, privateKeyFile: told.key } : {}),
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
    securityPolicies: [
      SecurityPolicy.None, SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep, SecurityPolicy.Aes256_Sha256_RsaPss,
    ],
    allowAnonymous: !told.user,
    userManager: { isValidUser: (user, password) => user === told.user && password === told.password },
    disableDiscovery: true,
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const own = told.before ? (space.registerNamespace("urn:test:before"), space.registerNamespace("urn:test:foreign"))
    : space.registerNamespace("urn:test:foreign");
  const nodes = {};
  const unit = space.getOwnNamespace().addObject({ organizedBy: space.rootFolder.objects, browseName: "Unit1" });
  const line = own.addObject({ componentOf: unit, browseName: "TIC1" });
  const other = own.addObject({ componentOf: unit, browseName: "TIC2" });

  function add(name, kind, more = {}) {
    const [folder, short] = name.includes(".") ? name.split(".") : ["TIC1", name];
    const parent = folder === "TIC2" ? other : line;
    const start = kind === "Boolean" ? false : kind === "String" ? "text" : 0;
    nodes[name] = own.addVariable({
      componentOf: parent, browseName: short, nodeId: `s=${name}`, dataType: kind,
      minimumSamplingInterval: 10, value: { dataType: DataType[kind], value: start }, ...more,
    });
  }
  nodes["TIC1.PV"] = own.addAnalogDataItem({
    componentOf: line, browseName: "PV", nodeId: "s=TIC1.PV", dataType: "Double", minimumSamplingInterval: 10,
    engineeringUnitsRange: { low: 0, high: 150 }, engineeringUnits: standardUnits.degree_celsius,
    value: { dataType: DataType.Double, value: 20 }, description: "temperature",
  });
  add("TIC1.SP", "Float");
  add("TIC1.TURNS", "Int16");
  add("TIC1.ON", "Boolean");
  add("TIC1.NOTE", "String");
  add("TIC1.FAST", "Double");
  add("TIC1.FIXED", "Double", { accessLevel: "CurrentRead", userAccessLevel: "CurrentRead" });
  add("TIC2.PV", "Double");
  add("TIC2.SP", "Double");
  nodes["TIC2.MODE"] = own.addMultiStateDiscrete({
    componentOf: other, browseName: "MODE", nodeId: "s=TIC2.MODE", enumStrings: ["MAN", "AUTO", "RCAS"], value: 1,
  });
  space.installHistoricalDataNode(nodes["TIC1.FAST"]);
  let count = 0;
  const ticking = setInterval(() => {
    nodes["TIC1.FAST"] && nodes["TIC1.FAST"].setValueFromSource({ dataType: DataType.Double, value: count++ });
    if (count % 20 === 0) nodes["TIC1.PV"].setValueFromSource({ dataType: DataType.Double, value: 20 + count / 20 });
  }, 100);
  await server.start();
  say(port);

  readline.createInterface({ input: process.stdin }).on("line", (text) => {
    const command = JSON.parse(text);
    if (command.set) {
      const node = nodes[command.set];
      const type = node.readValue().value.dataType;
      const value = "value" in command ? { dataType: type, value: command.value } : { dataType: DataType.Null };
      node.setValueFromSource(value, coerceStatusCode(command.status || 0), command.source ? new Date(command.source * 1000) : new Date());
    } else if (command.remove) {
      space.deleteNode(nodes[command.remove]);
      delete nodes[command.remove];
    } else if (command.add) {
      add(command.add, command.kind);
    } else if (command.value) {
      say(JSON.stringify(nodes[command.value].readValue().value.value));
      return;
    }
    say("done");
  }).on("close", () => { clearInterval(ticking); process.exit(0); });
})().catch((error) => { console.error(error); process.exit(1); });
