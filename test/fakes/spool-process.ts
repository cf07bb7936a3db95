/**
 * spool-process — a process with a spool of its own, for test/workers/spool.test.ts to kill, stop, or starve of disk.
 *
 * `hold FOLDER`: spools a message into a file, prints the path of its folder, stays. `full FOLDER`: spools 256 KiB to a
 * disk that fails on the way (strace or ulimit outside), prints what came of it. One line of JSON either way.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { TempFail } from '../../workers/fail.ts';
import { createSpool } from '../../workers/spool.ts';

const [task, folder = ''] = process.argv.slice(2);
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const spool = await createSpool({ folder, log, memoryBytesMax: 1_000 });
const own = readdirSync(folder).find((name) => name.startsWith(`${process.pid}-`)) ?? '';
const instance = join(folder, own);

if (task === 'hold') {
  const writer = spool.open();
  await writer.write(Buffer.alloc(100_000));
  await writer.finish();
  process.stdout.write(JSON.stringify(instance));
  setInterval(() => undefined, 60_000);
} else {
  const descriptors = readdirSync('/proc/self/fd').length;
  const error = await fill();
  const small = spool.open();
  await small.write(Buffer.from('still fine'));
  const told = {
    error,
    files: readdirSync(instance).filter((name) => name !== 'owner'),
    descriptors: readdirSync('/proc/self/fd').length - descriptors,
    small: String(await (await small.finish()).head(100)),
  };
  process.stdout.write(JSON.stringify(told));
  await spool.close();
}

async function fill(): Promise<string> {
  const writer = spool.open();
  try {
    for (let written = 0; written < 262_144; written += 65_536) await writer.write(Buffer.alloc(65_536, 'x'));
    await writer.finish();
    return 'none';
  } catch (error) {
    return error instanceof TempFail ? error.name : String(error);
  }
}
