/**
 * bayes-seal — the key of the sample, and how an entry is encrypted with it: AES-256-GCM, a random nonce for each.
 *
 * Hides cipher, form and key file. An entry is bound to its name: renamed, cut or changed it can't be opened. The key is made
 * once, of 32 random octets, and only its owner may read it; a file that others may read, or that is no key, is refused
 * (PermFail), for whoever could have put it there could read the sample.
 */
import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, open, rm, writeFile } from 'node:fs/promises';
import { PermFail } from './fail.ts';

export type Seal = {
  /** Names the key and tells nothing of it; eight hexadecimal digits. */
  readonly keyId: string;
  seal(name: string, plain: Buffer): Buffer;
  /** Null where it was not sealed under this name with this key, or was changed since. */
  open(name: string, sealed: Buffer): Buffer | null;
};

const cipher = 'aes-256-gcm';
const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/** The seal of a key file; null where there is none. */
export async function readSeal(file: string): Promise<Seal | null> {
  const key = await readKey(file);
  return key === null ? null : sealBy(key);
}

/** As `readSeal`, the key made where there is none; `draft` is a free name on the same disk. */
export async function makeSeal(file: string, draft: string): Promise<Seal> {
  const there = await readSeal(file);
  if (there !== null) return there;
  await writeFile(draft, randomBytes(keyBytes), { mode: 0o600, flag: 'wx', flush: true });
  try {
    // Unlike rename(2) it replaces nothing: of two that make one at once both get the same.
    await link(draft, file);
  } catch (cause) {
    if (codeOf(cause) !== 'EEXIST') throw cause;
  } finally {
    await rm(draft, { force: true });
  }
  const made = await readSeal(file);
  if (made === null) throw new PermFail(`Cannot make ${file}: it is gone again`);
  return made;
}

async function readKey(file: string): Promise<Buffer | null> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch((cause: unknown) => {
    if (codeOf(cause) === 'ENOENT') return null;
    throw new PermFail(`Cannot use the key ${file}: ${String(cause)}: ${remedy}`, { cause });
  });
  if (handle === null) return null;
  try {
    const { uid, mode, size } = await handle.stat();
    const why = reasonAgainst(uid, mode, size);
    if (why !== null) throw new PermFail(`Cannot use the key ${file}: ${why}: ${remedy}`);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

const remedy = 'remove it and the folder sample beside it: both are made anew';

function reasonAgainst(uid: number, mode: number, size: number): string | null {
  if (uid !== process.getuid?.()) return `it belongs to uid ${uid}`;
  if ((mode & 0o077) !== 0) return `others may use it (mode ${(mode & 0o777).toString(8)})`;
  return size === keyBytes ? null : `it has ${size} octets, a key has ${keyBytes}`;
}

function sealBy(key: Buffer): Seal {
  return {
    keyId: hash('sha256', Buffer.concat([Buffer.from('sluice sample key '), key])).slice(0, 8),
    seal(name, plain) {
      const nonce = randomBytes(nonceBytes);
      const encrypt = createCipheriv(cipher, key, nonce).setAAD(Buffer.from(name));
      const sealed = [encrypt.update(plain), encrypt.final()];
      return Buffer.concat([nonce, encrypt.getAuthTag(), ...sealed]);
    },
    open(name, sealed) {
      const [tagFrom, from] = [nonceBytes, nonceBytes + tagBytes];
      if (sealed.length < from) return null;
      const decrypt = createDecipheriv(cipher, key, sealed.subarray(0, tagFrom));
      decrypt.setAAD(Buffer.from(name)).setAuthTag(sealed.subarray(tagFrom, from));
      try {
        return Buffer.concat([decrypt.update(sealed.subarray(from)), decrypt.final()]);
      } catch {
        // Another key, another name, or other octets: the tag does not say which.
        return null;
      }
    },
  };
}

function codeOf(cause: unknown): unknown {
  return cause instanceof Error && 'code' in cause ? cause.code : null;
}
