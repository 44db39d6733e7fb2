// A Modbus client made of npm's modbus-serial. Arguments: port, then JSON of steps [method, ...arguments]. Prints their results.
const ModbusRTU = require("modbus-serial");

(async () => {
    const client = new ModbusRTU(), results = [];
    await client.connectTCP("127.0.0.1", { port: Number(process.argv[2]) });
    client.setID(1);
    client.setTimeout(2000);
    for (const [method, ...rest] of JSON.parse(process.argv[3])) {
        try {
            results.push((await client[method](...rest)).data ?? "done");
        } catch (error) {
            results.push({ exception: error.modbusCode });
        }
    }
    console.log(JSON.stringify(results));
    client.close(() => process.exit(0));
})();
