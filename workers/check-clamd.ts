/**
 * check-clamd — what a clamd must do before mail can be left to it, tried on the running one.
 *
 * Small messages show what it looks into and what it says of what it can't look into; zeros, as many as the largest
 * message has, show its limits. clamd.conf, where it is known, tells where a setting stands. Never throws: what could not
 * be found out is a finding.
 */
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import type { Unchecked, VirusResult } from '../rules/mail.ts';
import { type ClamdClient, type ClamdVersion, createClamd } from './clamd.ts';
import { type ClamdConfig, formatClamdSize } from './clamd-config.ts';
import {
  attachedVirus,
  eicar,
  encryptedArchive,
  overLimitArchive,
  plainMessage,
  virusBehindSecret,
  zeros,
  zippedVirus,
} from './clamd-samples.ts';
import { type At, limitOf, misset, placeOf } from './clamd-setting.ts';
import { type Address, addressText } from './exchange.ts';
import { silentLog } from './log.ts';

export type ClamdCheckOptions = {
  /** limits.messageBytes. */
  readonly messageBytes: number;
  /** Its configuration file, where that is known. */
  readonly config: ClamdConfig | null;
  readonly now: number;
};

type Probe = {
  readonly bytes: () => Buffer;
  readonly expected: VirusResult['kind'] | Unchecked['reason'];
  readonly ok: string;
  readonly otherwise: (said: VirusResult, at: At) => Finding;
};

const answerTimeoutMs = 10_000;
const scanTimeoutMs = 120_000;
const dayMs = 86_400_000;

/** All findings on the clamd at one address. */
export async function checkClamd(address: Address, options: ClamdCheckOptions): Promise<Finding[]> {
  const at = { where: addressText(address), config: options.config };
  const version = await ask(address, answerTimeoutMs, async (client) => (await client.version())[0]?.answer);
  if (version === undefined || version.kind === 'unchecked') return [unreachable(at, version?.detail ?? '')];
  return ask(address, scanTimeoutMs, async (client) => {
    const seen = await lookInto(client, at);
    const others = seen.some(({ level }) => level === 'fail') ? [] : await runProbes(client, at);
    const limits = await checkLimits(client, at, options.messageBytes);
    return [...judgeVersion(version, at, options.now), ...seen, ...others, ...limits];
  });
}

async function ask<T>(
  address: Address,
  timeoutMs: number,
  question: (client: ClamdClient) => Promise<T>,
): Promise<T> {
  const client = createClamd({ addresses: [address], concurrency: 1, timeoutMs, log: silentLog });
  try {
    return await question(client);
  } finally {
    client.close();
  }
}

function scanBytes(client: ClamdClient, read: () => AsyncIterable<Uint8Array>): Promise<VirusResult> {
  return client.scan({ read }, new AbortController().signal);
}

function unreachable({ where }: At, detail: string): Finding {
  const start = 'start it (Debian: systemctl start clamav-daemon), or correct clamd in sluice.yaml';
  const group = 'add the user of Sluice to the group of its socket (Debian: adduser USER clamav)';
  return fail(
    `clamd does not answer: ${withoutPlace(detail)}`,
    where,
    /EACCES|EPERM/.test(detail) ? group : start,
  );
}

/** Engine, and the age of the official signatures. */
function judgeVersion({ engine, signatures, signaturesAt }: ClamdVersion, at: At, now: number): Finding[] {
  const answers = ok(`clamd ${engine} answers`, at.where);
  const remedy = 'run freshclam, and see that its service runs (Debian: systemctl status clamav-freshclam)';
  if (signaturesAt === null) {
    const what = 'clamd has local signatures only: next to nothing is found';
    return [answers, warn(what, at.where, `get the official ones: ${remedy}`)];
  }
  const days = (now - signaturesAt) / dayMs;
  const what = `Signatures ${signatures ?? ''} are ${Math.max(0, days).toFixed(1)} days old`;
  if (days > 7) return [answers, fail(what, at.where, remedy)];
  return [answers, days > 2 ? warn(what, at.where, remedy) : ok(what, at.where)];
}

/** Whether viruses are found at all, and in what they usually come. The first failure ends it: the rest would only repeat it. */
async function lookInto(client: ClamdClient, at: At): Promise<Finding[]> {
  const probes: readonly (Probe & { readonly note?: string })[] = [
    {
      bytes: plainMessage,
      expected: 'clean',
      ok: 'A plain message is clean',
      otherwise: (said) =>
        fail(`A plain message is not clean for clamd: ${told(said)}`, at.where, 'look at its signatures'),
    },
    {
      bytes: eicar,
      expected: 'infected',
      ok: 'EICAR is found',
      otherwise: (said) =>
        fail(
          `EICAR, the test virus, is not found: ${told(said)}`,
          at.where,
          'run freshclam, restart clamd: it has no signatures worth the name',
        ),
    },
    {
      bytes: attachedVirus,
      expected: 'infected',
      ok: 'EICAR is found in an attachment',
      otherwise: (said) =>
        misset(at, 'ScanMail', 'yes', `A virus in an attachment is not found: ${told(said)}`),
    },
    {
      bytes: zippedVirus,
      expected: 'infected',
      ok: 'EICAR is found in an archive',
      otherwise: (said) =>
        misset(at, 'ScanArchive', 'yes', `A virus in an archive is not found: ${told(said)}`),
    },
  ];
  const findings: Finding[] = [];
  for (const probe of probes) {
    const finding = await runProbe(client, at, probe);
    findings.push(finding);
    if (finding.level !== 'ok') break;
  }
  return findings;
}

/** What clamd says of what it could not look into. */
function runProbes(client: ClamdClient, at: At): Promise<Finding[]> {
  const probes: readonly Probe[] = [
    {
      bytes: encryptedArchive,
      expected: 'encrypted',
      ok: 'An encrypted archive is reported (AlertEncrypted)',
      otherwise: () =>
        misset(
          at,
          'AlertEncrypted',
          'yes',
          'Encrypted archives pass as clean, though nobody looked into them',
        ),
    },
    {
      bytes: overLimitArchive,
      expected: 'overLimit',
      ok: 'An archive over a limit is reported (AlertExceedsMax)',
      otherwise: () =>
        misset(at, 'AlertExceedsMax', 'yes', "What is over clamd's limits passes as clean, unscanned"),
    },
    {
      bytes: virusBehindSecret,
      expected: 'infected',
      ok: 'A virus beside an encrypted archive is still named',
      otherwise: () =>
        misset(at, 'HeuristicScanPrecedence', 'no', 'A guess of clamd hides the virus in the same message'),
    },
  ];
  return Promise.all(probes.map((probe) => runProbe(client, at, probe)));
}

async function runProbe(client: ClamdClient, at: At, probe: Probe): Promise<Finding> {
  const said = await scanBytes(client, async function* () {
    yield probe.bytes();
  });
  if ((said.kind === 'unchecked' ? said.reason : said.kind) === probe.expected) return ok(probe.ok, at.where);
  return couldNotTell(said, at) ?? probe.otherwise(said, at);
}

/** A message as large as any that Sluice takes, and what clamd.conf says of what is inside one. */
async function checkLimits(client: ClamdClient, at: At, messageBytes: number): Promise<Finding[]> {
  const size = formatClamdSize(messageBytes);
  const said = await scanBytes(client, () => zeros(messageBytes));
  const large = `A message of ${size} (limits.messageBytes)`;
  const detail = said.kind === 'unchecked' ? said.detail : '';
  if (detail.includes('StreamMaxLength'))
    return [misset(at, 'StreamMaxLength', size, `${large} is more than clamd takes: it stays unchecked`)];
  const trouble = couldNotTell(said, at);
  if (trouble !== null) return [trouble];
  const exceeded = /Limits\.Exceeded\.(\w+)/.exec(detail)?.[1] ?? null;
  const limits = [
    checkLimit(at, 'MaxFileSize', messageBytes, exceeded),
    // The message itself and all that is decoded out of it count together.
    checkLimit(at, 'MaxScanSize', 2 * messageBytes, exceeded),
  ];
  return [ok(`${large} fits (StreamMaxLength)`, at.where), ...limits.flat()];
}

const exceededLimits: Readonly<Record<string, string>> = {
  MaxFileSize: 'larger messages go by onUnchecked.overLimit, larger members of zip archives pass as clean',
  MaxScanSize: 'a message near limits.messageBytes, with all that is decoded out of it, is more',
};

/** A limit that the largest message was over, or that is too low in the file; nothing where it is not known. */
function checkLimit(at: At, name: string, bytesWanted: number, exceeded: string | null): Finding[] {
  const limit = limitOf(at, name);
  const known = limit === null ? '' : ` (${formatClamdSize(limit)})`;
  if (exceeded !== name && (limit === null || limit >= bytesWanted))
    return limit === null ? [] : [ok(`${name} is large enough${known}`, placeOf(at, name))];
  const what = `Nothing over ${name}${known} is scanned: ${exceededLimits[name]}`;
  return [{ ...misset(at, name, formatClamdSize(bytesWanted), what), level: 'warn' }];
}

/** No answer is neither good nor bad; null where there was one. */
function couldNotTell(said: VirusResult, { where }: At): Finding | null {
  if (said.kind !== 'unchecked' || said.reason === 'encrypted' || said.reason === 'overLimit') return null;
  return fail(
    `clamd did not answer (${said.reason}): ${withoutPlace(said.detail)}`,
    where,
    'look at its log and its load, then check again',
  );
}

function told(said: VirusResult): string {
  if (said.kind === 'infected') return `it says ${said.name}`;
  return said.kind === 'unchecked' ? withoutPlace(said.detail) : `it says ${said.kind}`;
}

/** The detail without "clamd at ADDRESS: ", which stands beside it anyway. */
function withoutPlace(detail: string): string {
  return detail.replace(/^clamd at \S+: /, '');
}
