// node-redis, in the RESP version of the second argument.
import assert from "node:assert/strict";
import { createClient } from "redis";

const [port, RESP] = process.argv.slice(2).map(Number);
const client = createClient({ socket: { port }, RESP });
await client.connect();

await client.set("k", "v");
await client.hSet("h", { a: 1, b: 2 });
assert.deepEqual({ ...(await client.hGetAll("h")) }, { a: "1", b: "2" });
await Promise.all(Array.from({ length: 200 }, (_, number) => client.rPush("list", String(number))));
assert.equal(await client.lLen("list"), 200);
assert.deepEqual(await client.multi().set("t", 1).incr("t").exec(), ["OK", 2]);

const other = client.duplicate();
await other.connect();
await other.watch("t");
await client.set("t", "somebody else");
await assert.rejects(other.multi().set("t", "lost").exec(), /watched/i);

const lua = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
assert.equal(await client.eval(lua, { keys: ["n"], arguments: ["5"] }), 5);
const sha = await client.scriptLoad(lua);
assert.equal(await client.evalSha(sha, { keys: ["n"], arguments: ["5"] }), 10);

const waiting = other.blPop("queue", 10);
await client.rPush("queue", "x");
assert.deepEqual({ ...(await waiting) }, { key: "queue", element: "x" });

const subscriber = client.duplicate();
await subscriber.connect();
const received = [];
const all = new Promise((resolve) => {
  const take = (message, channel) => received.push(`${channel} ${message}`) === 3 && resolve();
  subscriber.subscribe("news", take)
    .then(() => subscriber.pSubscribe("n*", take))
    .then(() => subscriber.sSubscribe("shard", take))
    .then(() => client.publish("news", "hello"))
    .then((count) => assert.equal(count, 2))
    .then(() => client.sPublish("shard", "hello"));
});
await all;
assert.deepEqual(received.sort(), ["news hello", "news hello", "shard hello"]);

await client.xAdd("stream", "1-1", { f: "v" });
assert.equal((await client.xRange("stream", "-", "+"))[0].id, "1-1");

for (const one of [client, other, subscriber]) await one.close();
console.log("done");
