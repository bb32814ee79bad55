/**
 * Ports for servers that go and come back at the same address. While such a server is down, a port that the
 * system had chosen could be given to any other process, and a client that looks for the server would
 * find a stranger. So these lie below the ports that systems choose themselves (Linux from 32768, others
 * from 49152 on), and among ourselves each is reserved: by a UDP socket of the same number, which nobody
 * else here can bind until our process has ended, however it ends.
 */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { once } from "node:events";
import { randomInt } from "node:crypto";

const LOWEST = 10_000;
const BEYOND = 32_768;
const TRIES = 100;
const HOST = "127.0.0.1";

const isTaken = (error: unknown): boolean => {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EADDRINUSE" || code === "EACCES";
};

/** Resolves to false where somebody has it. The reservation lasts as long as this process. */
async function reserve(port: number): Promise<boolean> {
  const lock = createSocket("udp4");
  const probe = createServer();
  try {
    lock.bind({ port, address: HOST, exclusive: true });
    await once(lock, "listening");
    probe.listen(port, HOST);
    await once(probe, "listening");
    lock.unref();
    return true;
  } catch (error) {
    lock.close();
    if (isTaken(error)) return false;
    throw error;
  } finally {
    probe.close();
  }
}

/** A TCP port of 127.0.0.1 that nobody else is given while this process lives. Rejects if there is none. */
export async function ownPort(): Promise<number> {
  for (let left = TRIES; left > 0; left--) {
    const port = randomInt(LOWEST, BEYOND);
    if (await reserve(port)) return port;
  }
  throw new Error(`no free port after ${String(TRIES)} tries`);
}
