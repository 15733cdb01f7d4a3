// BullMQ: a queue, a worker, and events, on ioredis.
import assert from "node:assert/strict";
import { Queue, QueueEvents, Worker } from "bullmq";

const JOBS = 50;
const connection = { port: Number(process.argv[2]), maxRetriesPerRequest: null };
const queue = new Queue("jobs", { connection });
const events = new QueueEvents("jobs", { connection });
await events.waitUntilReady();
const worker = new Worker("jobs", async (job) => job.data.number ** 2, { connection, concurrency: 5 });

const jobs = await queue.addBulk(
  Array.from({ length: JOBS }, (_, number) => ({ name: "square", data: { number } })),
);
const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 20000)));
assert.deepEqual(results, Array.from({ length: JOBS }, (_, number) => number ** 2));
assert.equal((await queue.getJobCounts("completed")).completed, JOBS);

await worker.close();
await events.close();
await queue.close();
console.log("done");
