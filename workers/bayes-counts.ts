/**
 * bayes-counts — how many spam and ham messages Bayes has learned, as sa-learn sees it.
 *
 * Hides the call: the same site configuration and the same user as spamd's, for a database of another user would be
 * another one. A second of Perl each time. Never throws.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { User } from './local-process.ts';

export type BayesCounts = { readonly nspam: number; readonly nham: number };

/** `none`: sa-learn finds no database (yet), or may not read it; `unavailable`: no sa-learn here. */
export type BayesAnswer = BayesCounts | 'none' | 'unavailable';

/** Whose database, by which configuration; null is sa-learn's own idea of either. */
export type BayesView = { readonly user: User | null; readonly siteFolder: string | null };

const timeoutMs = 60_000;

/** Asks `sa-learn --dump magic` (sa-learn(1p)). Another user than ours needs root. */
export async function readBayesCounts({ user, siteFolder }: BayesView): Promise<BayesAnswer> {
  const site = siteFolder === null ? [] : [`--siteconfigpath=${siteFolder}`];
  const isOther = user !== null && user.uid !== process.getuid?.();
  const as = isOther ? { uid: user.uid, gid: user.gid } : {};
  const home = user?.home ?? process.env.HOME ?? '/';
  const env = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', HOME: home };
  try {
    const options = { ...as, env, cwd: '/', timeout: timeoutMs };
    const { stdout } = await promisify(execFile)('sa-learn', [...site, '--dump', 'magic'], options);
    return parseMagic(stdout) ?? 'none';
  } catch (cause) {
    return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT' ? 'unavailable' : 'none';
  }
}

/** The counts in what `--dump magic` prints: `0.000 0 12 0 non-token data: nspam`. */
export function parseMagic(text: string): BayesCounts | null {
  const count = (name: string) =>
    /\s(\d+)\s+\d+\s+$/.exec(text.split(`non-token data: ${name}\n`)[0] ?? '')?.[1];
  const [nspam, nham] = [count('nspam'), count('nham')];
  return nspam === undefined || nham === undefined ? null : { nspam: Number(nspam), nham: Number(nham) };
}
