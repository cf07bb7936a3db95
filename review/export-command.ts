/**
 * export-command — `sluice quarantine export`: the octets of a held message, to standard output or into a new file.
 *
 * The file is its caller's, who may be root; the quarantine is read as the owner of the state folder. Nothing is
 * overwritten, and nothing half is left: a file whose message could not be read to its end is removed again.
 */
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { actAsOwner } from '../filter/state-folder.ts';
import { PermFail } from '../workers/fail.ts';
import { atDesk } from './at-desk.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { printable } from './table.ts';
import { exportMessage } from './verbs.ts';

/** Writes a held message, as it was scanned, to standard output or into a new file. */
export async function exportHeld(invocation: Invocation): Promise<number> {
  const { output, json = false } = invocation.options;
  if (output !== undefined) return toNewFile(invocation, output);
  if (json) throw new UsageError('quarantine export: --json tells of the file: write --output FILE as well');
  return atDesk(invocation, async (desk, actor) => {
    await exportMessage(actor, desk, invocation.words[0] ?? '', toStandardOutput);
    return 0;
  });
}

/** False where nobody takes any more. */
async function toStandardOutput(chunk: Uint8Array): Promise<boolean> {
  const { stdout } = process;
  if (!stdout.destroyed && !stdout.write(chunk)) await roomIn(stdout);
  return !stdout.destroyed;
}

/** Resolves when more can be written, or nothing ever again. */
function roomIn(stream: NodeJS.WriteStream): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once('drain', resolve);
  stream.once('close', resolve);
  return promise.finally(() => stream.off('drain', resolve).off('close', resolve));
}

async function toNewFile(invocation: Invocation, path: string): Promise<number> {
  const { words, options, print, printJson } = invocation;
  const [quarantineId = ''] = words;
  const file = await openNew(path);
  let becomeCaller = (): void => undefined;
  try {
    return await atDesk(
      invocation,
      async (desk, actor) => {
        const sizeBytes = await exportMessage(actor, desk, quarantineId, (chunk) => append(file, chunk));
        if (options.json === true) printJson({ quarantineId, output: path, sizeBytes });
        else print(`${printable(path)}: ${sizeBytes} bytes`);
        return 0;
      },
      (state, log) => {
        becomeCaller = actAsOwner(state, log);
      },
    );
  } catch (cause) {
    becomeCaller();
    await unlink(path);
    throw cause;
  } finally {
    await file.close();
  }
}

async function openNew(path: string): Promise<FileHandle> {
  return open(path, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
    const why = cause.code === 'EEXIST' ? 'it is there already: name another file' : cause.message;
    throw new PermFail(`Cannot write ${path}: ${why}`, { cause });
  });
}

async function append(file: FileHandle, chunk: Uint8Array): Promise<boolean> {
  await file.writeFile(chunk);
  return true;
}
