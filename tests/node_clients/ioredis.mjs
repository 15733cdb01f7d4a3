// ioredis: pipelines, transactions with WATCH, Lua, channels, blocking, databases, streams.
import assert from "node:assert/strict";
import { once } from "node:events";
import Redis from "ioredis";

const port = Number(process.argv[2]);
const client = new Redis(port);
client.defineCommand("addTo", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });

await client.set("k", "v");
await client.hset("h", { a: 1, b: 2 });
assert.deepEqual(await client.hgetall("h"), { a: "1", b: "2" });

const pipeline = client.pipeline();
for (let number = 0; number < 200; number++) pipeline.rpush("list", number);
assert.equal((await pipeline.exec()).length, 200);

await client.watch("t");
assert.deepEqual(await client.multi().set("t", 1).incr("t").exec(), [[null, "OK"], [null, 2]]);
await client.watch("t");
const other = client.duplicate();
await other.set("t", "somebody else");
assert.equal(await client.multi().set("t", "lost").exec(), null);

assert.deepEqual([await client.addTo("n", 5), await client.addTo("n", 5)], [5, 10]);

await client.xgroup("CREATE", "stream", "group", "$", "MKSTREAM");
await client.xadd("stream", "1-1", "f", "v");
const [[, [[id]]]] = await client.xreadgroup("GROUP", "group", "me", "STREAMS", "stream", ">");
assert.equal(await client.xack("stream", "group", id), 1);

const waiting = other.blpop("queue", 10);
await client.rpush("queue", "x");
assert.deepEqual(await waiting, ["queue", "x"]);

const subscriber = client.duplicate();
await subscriber.subscribe("news");
await subscriber.psubscribe("n*");
const message = once(subscriber, "message");
const matched = once(subscriber, "pmessage");
assert.equal(await client.publish("news", "hello"), 2);
assert.deepEqual(await message, ["news", "hello"]);
assert.deepEqual(await matched, ["n*", "news", "hello"]);

await other.select(3);
await other.set("elsewhere", 1);
assert.equal(await other.dbsize(), 1);

await Promise.all([client.quit(), other.quit(), subscriber.quit()]);
console.log("done");
