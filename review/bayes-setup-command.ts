/**
 * bayes-setup-command — `sluice bayes setup`: each piece that two nodes need, printed, then checked as far as this node can see.
 *
 * Changes nothing but, with --keys, a missing key. Exit: 0 nothing is missing, 1 something is.
 */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { formatNode } from '../rules/node-fields.ts';
import type { BayesStatus } from '../workers/bayes.ts';
import { isTrouble } from '../workers/bayes-step.ts';
import { bayesSettings } from '../workers/bayes-store.ts';
import { checkAutoLearn, checkCalled, checkStore } from '../workers/check-bayes-called.ts';
import { checkKey, checkNode } from '../workers/check-bayes-caller.ts';
import { PermFail } from '../workers/fail.ts';
import { fingerprintsOf, makeKey, publicKeyOf, sshdSettings } from '../workers/openssh.ts';
import { messageSizeLimit } from '../workers/postmap.ts';
import { version } from '../workers/version.ts';
import { type BayesHere, bayesHere } from './bayes-here.ts';
import { type SetupPiece, setupPieces, sideOf } from './bayes-setup-text.ts';
import { countOf, type FindingGroup, formatGroup, formatSummary } from './check-text.ts';
import type { Invocation } from './invocation.ts';
import { printable } from './table.ts';

/** Shows and checks. */
export async function setUpBayes(invocation: Invocation): Promise<number> {
  const { options, status, print, printJson } = invocation;
  const config = invocation.config();
  const here = bayesHere(config, options, () => undefined);
  const { calls } = sideOf(config);
  if (options.keys === true && calls) await makeMissingKey(config.bayes.ssh.key);
  status.sayNow('looking at this node');
  const database = await here.bayes.status();
  const found = isTrouble(database) ? null : database;
  const pieces = setupPieces({
    config,
    host: hostname(),
    publicKey: calls ? await publicKeyOf(config.bayes.ssh.key) : null,
    fingerprints: calls ? [] : await ownFingerprints(),
    configFile: options.config ?? null,
    storeIsFiles: found?.store !== 'postgres' && found?.store !== 'redis',
  });
  if (options.json !== true) print(`${piecesText(pieces)}\n`);
  status.sayNow(calls ? 'asking the other node' : "looking at sshd's settings");
  const groups: FindingGroup[] = [
    {
      name: 'This node',
      findings: [
        ...lookHere(here, found),
        ...(isTrouble(database) ? [fail(database.message, null, database.remedy)] : []),
      ],
    },
    ...(calls
      ? await lookThere(here, found)
      : [{ name: 'ssh', findings: await checkCalled(sideOf(config).door) }]),
  ];
  status.say('');
  const { fail: failed } = countOf(groups);
  if (options.json === true) printJson({ ok: failed === 0, count: countOf(groups), pieces, groups });
  else print([...groups.map((group) => `${formatGroup(group)}\n`), formatSummary(groups)].join('\n'));
  return failed === 0 ? 0 : 1;
}

function lookHere({ config, view }: BayesHere, status: BayesStatus | null): Finding[] {
  const { role, bayes } = config;
  const { calls } = sideOf(config);
  const isRoot = process.getuid?.() === 0;
  const waits =
    role === 'primary'
      ? warn(
          'bayes.nodes names no node: this primary waits for backups that fetch',
          null,
          'none needed if that is meant; else write bayes.nodes',
        )
      : ok('This backup waits for its primary (bayes.primary is not set)');
  return [
    isRoot ? ok('Run as root') : warn('Not run as root: much can not be seen', null, 'run it as root'),
    calls
      ? ok(
          `This ${role} connects to ${role === 'backup' ? 'its primary' : bayes.nodes.map(formatNode).join(', ')}`,
        )
      : waits,
    ...(status === null || role === 'primary' ? [] : [checkStore(status, config)]),
    ...(role === 'backup' ? [checkAutoLearn(bayesSettings(view).bayes_auto_learn)] : []),
  ];
}

async function lookThere({ config, view }: BayesHere, status: BayesStatus | null): Promise<FindingGroup[]> {
  const { role, bayes } = config;
  const nodes = role === 'primary' ? bayes.nodes : [bayes.primary ?? []].flat();
  const keyFindings = await checkKey(bayes.ssh.key);
  const own = {
    role,
    sluice: version,
    spamassassin: status?.spamassassin ?? 'unknown',
    settings: bayesSettings(view),
    messageSizeLimit: await messageSizeLimit(),
  };
  const hasKey = keyFindings.every(({ level }) => level === 'ok');
  const each = await Promise.all(
    nodes.map(async (node) => ({
      name: `${node.user}@${node.host}`,
      findings: hasKey ? await checkNode(node, bayes.ssh, own) : [],
    })),
  );
  return [{ name: 'Key', findings: keyFindings }, ...each.filter(({ findings }) => findings.length > 0)];
}

async function makeMissingKey(file: string): Promise<void> {
  if (existsSync(file)) return;
  if (await makeKey(file, `sluice-bayes@${hostname()}`)) return;
  throw new PermFail(`Cannot make the key ${file}: see why: ssh-keygen -t ed25519 -N '' -f ${file}`);
}

/** Of the keys that sshd here shows. */
async function ownFingerprints(): Promise<string[]> {
  const files = (await sshdSettings())?.get('hostkey') ?? ['/etc/ssh/ssh_host_ed25519_key'];
  const found = await Promise.all(files.map((file) => fingerprintsOf(`${file}.pub`)));
  return found.flatMap((text) => text?.split('\n') ?? []);
}

function piecesText(pieces: readonly SetupPiece[]): string {
  return pieces
    .map(({ where, title, lines }, at) =>
      [`${at + 1}. ${title}`, `   on ${where}:`, ...lines.map((line) => `     ${printable(line)}`)].join(
        '\n',
      ),
    )
    .join('\n');
}
