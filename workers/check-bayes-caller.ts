/**
 * check-bayes-caller — whether this node reaches another one for the Bayes sync, and can do nothing else there.
 *
 * From the key to the answer, each piece by itself, so that the first one that is missing is named. Changes nothing anywhere.
 * Never throws.
 */
import { statSync } from 'node:fs';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import { type Hello, judgeHello, readHello } from './bayes-hello.ts';
import { createCall } from './bayes-ssh.ts';
import { forwardingOf } from './bayes-ssh-words.ts';
import { type BayesTrouble, isTrouble, orThrow, outcomeOf } from './bayes-step.ts';
import { pinnedKeysOf, publicKeyOf } from './openssh.ts';

type Ssh = Config['bayes']['ssh'];

/** What this side is, to compare the other one with. */
export type OwnSide = {
  readonly role: Config['role'];
  readonly sluice: string;
  readonly spamassassin: string;
  readonly settings: Hello['settings'];
  readonly messageSizeLimit: Hello['messageSizeLimit'];
};

const deadlineSeconds = 60;

/** Findings on the key. */
export async function checkKey(file: string): Promise<Finding[]> {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined)
    return [fail('There is no key for the Bayes sync', file, 'make one: sluice bayes setup --keys')];
  const isOpen = (found.mode & 0o077) !== 0;
  const isReadable = (await publicKeyOf(file)) !== null;
  return [
    isOpen
      ? fail('Others may read the key, so ssh does not use it', file, `chmod 600 ${file}`)
      : isReadable
        ? ok('The key is there', file)
        : fail(
            'The key can not be used: it has a passphrase, or is none',
            file,
            'make one: remove it, then sluice bayes setup --keys',
          ),
  ];
}

/** Findings on one node: its pinned key, the connection, what is behind it. */
export async function checkNode(node: SshNode, ssh: Ssh, own: OwnSide): Promise<Finding[]> {
  const name = formatNode(node);
  const pinned = await pinnedKeysOf(node.host, node.port, ssh.knownHosts);
  if (pinned === null || pinned === '')
    return [
      fail(
        `The host key of ${name} is not pinned`,
        ssh.knownHosts,
        'pin it, and compare its fingerprint: the lines stand above',
      ),
    ];
  const found = [ok(`The host key of ${name} is pinned`, ssh.knownHosts)];
  const askedAt = Date.now();
  const hello = await ask(node, ssh);
  if (isTrouble(hello)) return [...found, fail(hello.message, name, hello.remedy)];
  const now = Date.now();
  const forced = await checkForced(node, ssh, name);
  return [
    ...found,
    ok(`It answers: ${hello.host}, ${hello.role}`, name),
    ...forced,
    ...judge(own, hello, name, { askedAt, now }),
  ];
}

async function ask(node: SshNode, ssh: Ssh, command?: string): Promise<Hello | BayesTrouble> {
  const call = createCall(node, { ...ssh, deadlineSeconds }, new AbortController().signal, command);
  return outcomeOf(
    () => undefined,
    async () => readHello(orThrow(await call({ name: 'hello' })).head),
  );
}

/** Whatever is asked to be run, it is the same answer; and no way leads through to other ports there. */
async function checkForced(node: SshNode, ssh: Ssh, name: string): Promise<Finding[]> {
  const line = 'see that its line in authorized_keys begins with restrict,command="…", as above';
  const answer = await ask(node, ssh, 'id');
  const shell = isTrouble(answer)
    ? fail(`The key may run other commands than sluice there: ${answer.message}`, name, line)
    : ok('The key leads to sluice alone, whatever is asked to be run', name);
  const forwarding = await forwardingOf(node, ssh);
  if (forwarding === 'refused') return [shell, ok('The key opens no other port there (restrict)', name)];
  const what =
    forwarding === 'open'
      ? 'The key opens other ports there'
      : 'Whether the key opens other ports there is unknown';
  return [shell, warn(what, name, line)];
}

function judge(own: OwnSide, there: Hello, name: string, times: { askedAt: number; now: number }): Finding[] {
  const judged = ((): Finding[] => {
    try {
      const differing = judgeHello(own, there, name, times);
      if (differing.length === 0) return [ok('Role, versions and clock are as they should be', name)];
      return differing.map((what) => warn(what, name, 'bring both nodes to the same versions and time'));
    } catch (cause) {
      const remedy =
        cause instanceof Error && 'remedy' in cause ? String(cause.remedy) : 'compare the two sluice.yaml';
      return [fail(cause instanceof Error ? cause.message : String(cause), name, remedy)];
    }
  })();
  return [...judged, ...judgeSettings(own, there, name), ...judgeSizes(own, there, name)];
}

/** What makes the same words other tokens, or the same tokens another score. */
function judgeSettings(own: OwnSide, there: Hello, name: string): Finding[] {
  const names = Object.keys(own.settings).filter((key) => key !== 'bayes_auto_learn');
  const other = names.filter((key) => own.settings[key] !== there.settings[key]);
  const text = (value: string | null | undefined) => value ?? 'unset';
  const same = other.map((key) =>
    warn(
      `SpamAssassin's ${key} is ${text(own.settings[key])} here, ${text(there.settings[key])} there: the same database scores otherwise`,
      name,
      'set it alike in local.cf on both nodes',
    ),
  );
  return same.length > 0 ? same : [ok("SpamAssassin's settings for Bayes are alike on both nodes", name)];
}

/** What the backup takes and the primary does not bounces days later; the other way round mail is refused that the primary takes. */
function judgeSizes(own: OwnSide, there: Hello, name: string): Finding[] {
  const [here, other] = [own.messageSizeLimit, there.messageSizeLimit];
  // No Postfix, or an older Sluice: nothing to compare.
  if (here === null || other === null) return [];
  if (here === other) return [ok(`Postfix's message_size_limit is ${here} on both nodes`, name)];
  const [primary, backup] = own.role === 'primary' ? [here, other] : [other, here];
  // 0 is without a limit.
  const isLarger = backup === 0 || (primary !== 0 && backup > primary);
  const cost = isLarger
    ? 'what is larger than the primary takes is accepted on the backup, and bounces'
    : 'the backup refuses mail that the primary takes';
  return [
    warn(
      `Postfix's message_size_limit is ${here} here, ${other} there: ${cost}`,
      name,
      `on the backup: postconf -e 'message_size_limit = ${primary}'`,
    ),
  ];
}
