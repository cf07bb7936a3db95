/**
 * apart — a place like another machine: a network namespace with an address of its own, joined to us by one wire (veth).
 *
 * What runs in it reaches nothing here but what listens on our end of the wire. (Sockets in the file system are no network: a
 * scanner's unix socket is reached from there.) Needs root.
 */
import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export type Apart = {
  /** Our end of the wire. */
  readonly here: string;
  readonly there: string;
  /** Both, and nobody else. */
  readonly network: string;
  /** Words in front of a command that shall run there. */
  readonly within: readonly string[];
  /** Takes wire and place away; whatever runs there should have been stopped before. */
  stop(): Promise<void>;
};

/** A new place with a wire to it. */
export async function createApart(): Promise<Apart> {
  // 198.18.0.0/15 is set aside for such tests (RFC 2544): no real network has it.
  const net = randomInt(0, 128 * 256 * 63);
  const at = (host: number) => {
    const last = net * 4 + host;
    return `198.${18 + ((last >> 16) & 1)}.${(last >> 8) & 255}.${last & 255}`;
  };
  const name = `sluice-${process.pid}-${net}`;
  const wire = `sl${net.toString(36)}`;
  const ip = (...words: string[]) => execute('ip', words);
  await ip('netns', 'add', name);
  const stop = async (): Promise<void> => void (await ip('netns', 'delete', name));
  try {
    await ip('link', 'add', `${wire}h`, 'type', 'veth', 'peer', 'name', `${wire}t`, 'netns', name);
    await ip('address', 'add', `${at(1)}/30`, 'dev', `${wire}h`);
    await ip('link', 'set', `${wire}h`, 'up');
    await ip('-n', name, 'address', 'add', `${at(2)}/30`, 'dev', `${wire}t`);
    await ip('-n', name, 'link', 'set', `${wire}t`, 'up');
    await ip('-n', name, 'link', 'set', 'lo', 'up');
  } catch (cause) {
    await stop();
    throw cause;
  }
  return { here: at(1), there: at(2), network: `${at(0)}/30`, within: ['ip', 'netns', 'exec', name], stop };
}
