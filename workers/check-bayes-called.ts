/**
 * check-bayes-called — whether another node that comes over ssh finds the door of the Bayes sync on this one, and nothing else.
 *
 * Looks at sshd's settings (sshd -T) and root's authorized keys, and at whether the store here can take a snapshot. Never throws.
 */
import { readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import type { BayesStatus } from './bayes.ts';
import { isPrepared, linkRemedy } from './bayes-files.ts';
import { findUser } from './local-process.ts';
import { sshdSettings } from './openssh.ts';

/** Findings on sshd and on root's authorized keys, of which one leads to `sluice bayes receive` (or `send`). */
export async function checkCalled(door: 'receive' | 'send'): Promise<Finding[]> {
  const settings = await sshdSettings();
  if (settings === null)
    return [
      warn(
        'What sshd does here is unknown: it is not installed, or only root may ask it',
        null,
        'run this as root; install openssh-server',
      ),
    ];
  return checkSshd(settings, door);
}

/** Findings on what `sshd -T` says: name in lower case → values. */
export function checkSshd(
  settings: ReadonlyMap<string, readonly string[]>,
  door: 'receive' | 'send',
): Finding[] {
  return [...checkLogin(settings), ...checkAuthorized(settings, door)];
}

function checkLogin(settings: ReadonlyMap<string, readonly string[]>): Finding[] {
  const root = settings.get('permitrootlogin')?.[0] ?? 'unknown';
  const keys = settings.get('pubkeyauthentication')?.[0] ?? 'unknown';
  const remedy =
    'write PermitRootLogin forced-commands-only into /etc/ssh/sshd_config.d/sluice.conf, then: systemctl reload ssh';
  const findings = [
    root === 'no'
      ? fail('sshd lets root not in, not even for one command', 'sshd', remedy)
      : root === 'yes'
        ? warn('sshd lets root in with a password', 'sshd', remedy)
        : ok(`sshd lets root in with a key (PermitRootLogin ${root})`, 'sshd'),
  ];
  if (keys === 'no') findings.push(fail('sshd takes no keys', 'sshd', 'write PubkeyAuthentication yes'));
  return findings;
}

/** Whether a key of root's leads to `sluice bayes send`: a backup may fetch. False where only root may know. */
export async function mayBeFetched(): Promise<boolean> {
  const settings = await sshdSettings();
  return settings !== null && authorizedFor(settings, 'send').ours.length > 0;
}

/** The files of root's authorized keys, and the lines in them that lead to this door. */
function authorizedFor(
  settings: ReadonlyMap<string, readonly string[]>,
  door: string,
): { readonly files: readonly string[]; readonly ours: readonly { file: string; line: string }[] } {
  const home = findUser('root')?.home ?? '/root';
  const files = (settings.get('authorizedkeysfile') ?? ['.ssh/authorized_keys']).map((file) => {
    const named = file.replaceAll('%h', home).replaceAll('%u', 'root').replaceAll('%%', '%');
    return isAbsolute(named) ? named : join(home, named);
  });
  const lines = files.flatMap((file) => linesOf(file).map((line) => ({ file, line })));
  return { files, ours: lines.filter(({ line }) => line.includes(`bayes ${door}`)) };
}

function checkAuthorized(settings: ReadonlyMap<string, readonly string[]>, door: string): Finding[] {
  const { files, ours } = authorizedFor(settings, door);
  const add = 'put the line there that sluice bayes setup prints on the other node';
  if (ours.length === 0)
    return [fail(`No authorized key of root leads to sluice bayes ${door}`, files[0] ?? null, add)];
  return ours.map(({ file, line }) =>
    /(?:^|,)restrict(?:,|\s)/.test(line.split('ssh-')[0] ?? '') && /command="/.test(line)
      ? ok(`A key of root leads to sluice bayes ${door} and to nothing else`, file)
      : warn(
          `The key that leads to sluice bayes ${door} may do more than that`,
          file,
          'begin its line with restrict,command="…"',
        ),
  );
}

/** Whether a snapshot could be restored into the store here. */
export function checkStore({ store, place, spamassassin }: BayesStatus, { bayes }: Config): Finding {
  const what = `SpamAssassin ${spamassassin} keeps Bayes in ${{ files: 'files', postgres: 'PostgreSQL', redis: 'Redis' }[store]}`;
  if (store === 'redis' && bayes.redisScratch === null)
    return fail(
      `${what}, and no second index is named`,
      place,
      'set bayes.redisScratch to an index that belongs to Bayes alone',
    );
  if (store === 'files' && !isPrepared(place))
    return fail(`${what}, and bayes_path leads through no link called current`, place, linkRemedy(place));
  return ok(`${what}, ready for a restore`, place);
}

/** A backup learns nothing by itself: what it got from the primary would drift away. */
export function checkAutoLearn(value: string | null | undefined): Finding {
  if (value === '0') return ok('This node learns nothing by itself (bayes_auto_learn 0)');
  const remedy = 'write bayes_auto_learn 0 into local.cf and restart spamd';
  return warn('This node learns by itself, so its database drifts away from the primary', null, remedy);
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => !/^\s*(?:#|$)/.test(line));
  } catch {
    return []; // none of that name
  }
}
