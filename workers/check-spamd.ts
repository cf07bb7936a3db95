/**
 * check-spamd — what a spamd must do before mail can be left to it, tried on the running one.
 *
 * Whether it knows sluice.cf and finds spam at all; what its command line says of children, user and time limit, where it
 * runs on this machine. Never throws: what could not be found out is a finding.
 */
import { join } from 'node:path';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import type { SpamResult, Unchecked } from '../rules/mail.ts';
import { type Address, addressText } from './exchange.ts';
import { type LocalProcess, optionOf } from './local-process.ts';
import { silentLog } from './log.ts';
import { createSpamd, type RulesCheck, type SpamdClient } from './spamd.ts';
import { settingIn, usualSiteFolder } from './spamassassin-config.ts';

/** What of our own configuration a spamd has to live up to. */
export type SpamdDemands = {
  readonly user: string | null;
  readonly spamBytes: number;
  /** Messages that it is asked about at once. */
  readonly concurrency: number;
  /** How long we wait for a scan. */
  readonly scanSeconds: number;
};

const answerTimeoutMs = 10_000;
const scanTimeoutMs = 120_000;
/** A slow scan, most of it waiting for the DNS (rbl_timeout is 15 s). */
const slowScanSeconds = 15;

/** Findings on what the spamd at one address answers. */
export async function checkSpamd(address: Address, demands: SpamdDemands): Promise<Finding[]> {
  const where = addressText(address);
  const alive = await askSpamd(address, demands, answerTimeoutMs, async (client) => (await client.ping())[0]);
  if (alive?.answer.kind !== 'alive') return [unreachable(where, alive?.answer.detail ?? '')];
  return askSpamd(address, demands, scanTimeoutMs, async (client) => {
    const [rules] = await client.checkRules();
    const judged = judgeRules(where, rules?.answer);
    const spam = judged.level === 'ok' ? [judgeSpam(where, await scanSpam(client))] : [];
    return [ok('spamd answers', where), judged, ...spam];
  });
}

/** Findings on how the spamd behind an address was started; `process` null where that can't be seen. */
export function checkSpamdProcess(
  address: Address,
  process: LocalProcess | null,
  demands: SpamdDemands,
): Finding[] {
  const where = addressText(address);
  if (process === null) {
    const what = 'The process of this spamd can not be seen: its children, user and time_limit are unknown';
    const wanted = `--max-children ${childrenFor(demands)}, one user (-u) and time_limit ${timeLimitFor(demands)}`;
    return [warn(what, where, `check as root on its machine; there shall be ${wanted} at least`)];
  }
  return [
    checkChildren(where, process, demands),
    checkUser(where, process),
    checkTimeLimit(where, siteFolderOf(process), demands),
  ];
}

/** The folder of site configuration that a spamd was started with; null: its usual one. */
export function siteFolderOf({ argv }: LocalProcess): string | null {
  return (
    argv.findLast((word) => word.startsWith('--siteconfigpath='))?.slice('--siteconfigpath='.length) ?? null
  );
}

/** Asks one spamd by a client of its own. */
export async function askSpamd<T>(
  address: Address,
  { user, spamBytes }: Pick<SpamdDemands, 'user' | 'spamBytes'>,
  timeoutMs: number,
  question: (client: SpamdClient) => Promise<T>,
): Promise<T> {
  const addresses = [address];
  const client = createSpamd({ addresses, user, spamBytes, concurrency: 1, timeoutMs, log: silentLog });
  try {
    return await question(client);
  } finally {
    client.close();
  }
}

function unreachable(where: string, detail: string): Finding {
  const start = 'start it (Debian: systemctl start spamd), or correct spamd in sluice.yaml';
  const socket = 'let the user of Sluice open its socket (--socketmode, --socketgroup of spamd)';
  const what = `spamd does not answer: ${withoutPlace(detail)}`;
  return fail(what, where, /EACCES|EPERM/.test(detail) ? socket : start);
}

function judgeRules(where: string, answer: RulesCheck | Unchecked | undefined): Finding {
  if (answer?.kind === 'loaded') return ok('sluice.cf is loaded: exact scores, envelope sender', where);
  if (answer?.kind !== 'missing') return couldNotTell(where, answer?.detail ?? 'no answer');
  // Its detail is what is wrong, a colon, and what to do.
  const [what = '', ...remedy] = answer.detail.split(': ');
  return fail(`${what}: no message gets a score`, where, remedy.join(': '));
}

function scanSpam(client: SpamdClient): Promise<SpamResult> {
  const bytes = gtube();
  const message = {
    sizeBytes: bytes.length,
    async *read() {
      yield bytes;
    },
  };
  return client.scan(message, { sender: 'check@sluice.invalid' }, new AbortController().signal);
}

function judgeSpam(where: string, said: SpamResult): Finding {
  if (said.kind !== 'scored') return couldNotTell(where, said.kind === 'unchecked' ? said.detail : said.kind);
  if (said.tests.some(({ name }) => name === 'GTUBE')) return ok('GTUBE, the test spam, is found', where);
  const remedy = 'run "spamassassin --lint", and sa-update where the rules are missing';
  return fail(`GTUBE, the test spam, is not found: score ${said.score}`, where, remedy);
}

function couldNotTell(where: string, detail: string): Finding {
  return fail(
    `spamd did not answer: ${withoutPlace(detail)}`,
    where,
    'look at its log and its load, then check again',
  );
}

/** The last of those we ask about at once waits for all that go first. */
function checkChildren(where: string, { argv }: LocalProcess, demands: SpamdDemands): Finding {
  const children = Number(optionOf(argv, '-m', '--max-children') ?? 5);
  const { concurrency, scanSeconds } = demands;
  const wanted = childrenFor(demands);
  if (children >= wanted) return ok(`${children} children for ${concurrency} messages at once`, where);
  const longest = Math.ceil(concurrency / children) * slowScanSeconds;
  const what = `${children} ${children === 1 ? 'child' : 'children'} for ${concurrency} messages at once: with slow look-ups the last one waits ${longest} s of the ${scanSeconds} s there are`;
  const memory = `about ${wanted * 115} MB of memory`;
  return warn(what, where, `start spamd with --max-children ${wanted} (${memory}), or lower limits.inFlight`);
}

/** So many that what waits in line is through, slowly, in half of our time. */
function childrenFor({ concurrency, scanSeconds }: SpamdDemands): number {
  const rounds = Math.max(1, Math.floor(scanSeconds / 2 / slowScanSeconds));
  return Math.ceil(concurrency / rounds);
}

function checkUser(where: string, { argv, uid }: LocalProcess): Finding {
  const user = optionOf(argv, '-u', '--username');
  if (uid !== 0 || user !== null)
    return ok(`spamd works as one user (${user ?? `uid ${uid}`}): one Bayes database for all`, where);
  const remedy =
    'start it with -u debian-spamd, without --create-prefs, and set bayes_path in local.cf (Debian: OPTIONS in /etc/default/spamd)';
  const what = 'spamd runs as root without -u: every user has a Bayes database of its own, nobody has none';
  return warn(what, where, remedy);
}

/** Else its child goes on with what nobody waits for any more. */
function checkTimeLimit(where: string, siteFolder: string | null, demands: SpamdDemands): Finding {
  const folder = siteFolder ?? usualSiteFolder;
  const { seconds, place } = timeLimitIn(folder);
  const wanted = timeLimitFor(demands);
  if (seconds > 0 && seconds < demands.scanSeconds)
    return ok(
      `SpamAssassin ends a scan after ${seconds} s, Sluice waits ${demands.scanSeconds} s`,
      place ?? where,
    );
  const what = `SpamAssassin's time_limit is ${seconds} s, but Sluice waits ${demands.scanSeconds} s only: children work for nobody`;
  return warn(
    what,
    place ?? where,
    `write "time_limit ${wanted}" in ${join(folder, 'local.cf')} and restart spamd`,
  );
}

function timeLimitFor({ scanSeconds }: SpamdDemands): number {
  return Math.max(1, Math.floor((scanSeconds * 5) / 6));
}

/** Mail::SpamAssassin::Conf(3): 300 s where nobody says otherwise. */
function timeLimitIn(folder: string): { seconds: number; place: string | null } {
  const found = settingIn(folder, 'time_limit');
  return { seconds: Number(found?.value ?? 300), place: found?.place ?? null };
}

/** The Generic Test for Unsolicited Bulk Email, put together so that no file of ours is spam. */
function gtube(): Buffer {
  const mark = ['XJS*C4JDBQADN1.NSBN3*2IDNEN', '*GTUBE-STANDARD-ANTI', '-UBE-TEST-EMAIL*C.34X'].join('');
  const head = 'From: <check@sluice.invalid>\r\nTo: <check@sluice.invalid>\r\nSubject: Is spam found\r\n';
  return Buffer.from(`${head}Message-ID: <gtube@sluice.invalid>\r\n\r\n${mark}\r\n`);
}

function withoutPlace(detail: string): string {
  return detail.replace(/^spamd at \S+: /, '');
}
