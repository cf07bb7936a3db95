/**
 * check-bayes — whether what is taught through a spamd arrives where everybody looks: in one Bayes database.
 *
 * Teaches spamd a tiny message of its own and has it forgotten at once; in between sa-learn must count one more. What
 * could not be found out is a finding. Changing to spamd's user needs root. Never throws.
 */
import { randomBytes } from 'node:crypto';
import { type Finding, ok, warn } from '../rules/finding.ts';
import { type BayesAnswer, type BayesView, readBayesCounts } from './bayes-counts.ts';
import { askSpamd, siteFolderOf, type SpamdDemands } from './check-spamd.ts';
import { type Address, addressText } from './exchange.ts';
import { findUser, type LocalProcess, optionOf, type User } from './local-process.ts';
import type { LearnAs, LearnResult } from './spamd.ts';
import { settingIn, usualSiteFolder } from './spamassassin-config.ts';

/** SpamAssassin's bayes_min_spam_num and bayes_min_ham_num. */
const activeFrom = 200;
const timeoutMs = 60_000;

/** Whose database, by which configuration: what was asked for, else what spamd's process shows. */
export function bayesViewOf(
  process: LocalProcess | null,
  wanted: { readonly user: string | null; readonly siteFolder: string | null },
): BayesView {
  return {
    user: userOf(process, wanted.user),
    siteFolder: wanted.siteFolder ?? (process === null ? null : siteFolderOf(process)),
  };
}

/** Started by root without -u, spamd has no one user: then it is sa-learn's own. */
function userOf(process: LocalProcess | null, wanted: string | null): User | null {
  const named = wanted ?? (process === null ? null : optionOf(process.argv, '-u', '--username'));
  if (named !== null) return findUser(named);
  return process === null || process.uid === 0 ? null : findUser(process.uid);
}

/** Findings on learning; none where spamd does not answer at all. */
export async function checkBayes(
  address: Address,
  demands: Pick<SpamdDemands, 'user' | 'spamBytes'>,
  view: BayesView,
): Promise<Finding[]> {
  const where = addressText(address);
  const alive = await askSpamd(address, demands, 10_000, async (client) => (await client.ping())[0]?.answer);
  if (alive?.kind !== 'alive') return [];
  const before = await readBayesCounts(view);
  const { learned, during, forgotten } = await teach(address, demands, () => readBayesCounts(view));
  if (learned.kind !== 'learned') return [judgeRefusal(where, learned), judgeActive(where, before, view)];
  const findings = [ok('spamd learns (--allow-tell)', where), judgeSame(where, before, during)];
  if (forgotten?.kind !== 'learned') findings.push(notForgotten(where));
  return [...findings, judgeActive(where, isCounted(before) ? before : lessOne(during), view)];
}

type Lesson = { learned: LearnResult; during: BayesAnswer; forgotten: LearnResult | null };

async function teach(
  address: Address,
  demands: Pick<SpamdDemands, 'user' | 'spamBytes'>,
  count: () => Promise<BayesAnswer>,
): Promise<Lesson> {
  const bytes = lesson();
  return askSpamd(address, demands, timeoutMs, async (client) => {
    const read = async function* () {
      yield bytes;
    };
    const tell = (as: LearnAs) => client.tell(read, bytes.length, as, new AbortController().signal);
    const learned = await tell('spam');
    if (learned.kind !== 'learned') return { learned, during: 'none', forgotten: null };
    const during = await count();
    return { learned, during, forgotten: await tell('forget') };
  });
}

/** A message that nobody has taught before, of words that nobody uses. */
function lesson(): Buffer {
  const word = () => `sluice${randomBytes(6).toString('hex')}`;
  const head = `From: <check@sluice.invalid>\r\nMessage-ID: <${word()}@sluice.invalid>\r\nSubject: ${word()}\r\n`;
  return Buffer.from(`${head}\r\n${word()} ${word()} ${word()}\r\n`);
}

function judgeRefusal(where: string, told: LearnResult): Finding {
  if (told.kind === 'disabled') {
    const remedy = 'start it with --allow-tell (Debian: OPTIONS in /etc/default/spamd)';
    return warn('spamd does not take lessons: nothing can be learned from the quarantine', where, remedy);
  }
  if (told.kind === 'unchanged') {
    const remedy = 'see in its log why: use_bayes 0, or a bayes_path that its user can not write';
    return warn(
      'spamd learned nothing from a new message: it has no Bayes database to write to',
      where,
      remedy,
    );
  }
  const detail = told.kind === 'unchecked' ? told.detail : told.kind;
  return warn(`Whether spamd learns is unknown: ${detail}`, where, 'look at its log, then check again');
}

function judgeSame(where: string, before: BayesAnswer, during: BayesAnswer): Finding {
  if (before === 'unavailable' || during === 'unavailable') {
    const what = "Whether spamd's Bayes database is sa-learn's is unknown: no sa-learn here";
    return warn(what, where, 'check on the machine of spamd');
  }
  const seen = isCounted(during) && during.nspam > (isCounted(before) ? before.nspam : 0);
  if (seen) return ok("spamd's Bayes database is the one that sa-learn reads", where);
  const what = isCounted(during)
    ? 'spamd and sa-learn have different Bayes databases: what spamd learned, sa-learn does not count'
    : 'sa-learn finds no Bayes database, though spamd has learned into one';
  const remedy =
    'set one bayes_path in local.cf, readable for both, and start spamd with -u; or name user and folder: --spamd-user, --spamd-config';
  return warn(what, where, remedy);
}

function notForgotten(where: string): Finding {
  const what = "spamd did not forget the check's own message: one message of five odd words counts as spam";
  return warn(what, where, 'look at its log');
}

/** A young database is no mistake: Bayes says nothing until it knows enough, the other rules judge meanwhile. */
function judgeActive(where: string, counts: BayesAnswer, { siteFolder }: BayesView): Finding {
  if (!isCounted(counts)) {
    const what = 'Whether Bayes is active is unknown: sa-learn can not be asked';
    const remedy = `see that it knows ${activeFrom} spam and ${activeFrom} ham messages: sa-learn --dump magic`;
    return warn(what, where, remedy);
  }
  const { nspam, nham } = counts;
  const learned = `${nspam} spam and ${nham} ham messages learned`;
  if (nspam >= activeFrom && nham >= activeFrom) return ok(`Bayes is active: ${learned}`, where);
  const teachesItself = settingIn(siteFolder ?? usualSiteFolder, 'bayes_auto_learn')?.value !== '0';
  const how = teachesItself ? 'it gets there by itself, sooner with sa-learn' : 'teach it with sa-learn';
  return ok(`Bayes waits for ${activeFrom} of each: ${learned}; ${how}`, where);
}

function isCounted(answer: BayesAnswer): answer is Exclude<BayesAnswer, string> {
  return typeof answer !== 'string';
}

/** Our own message is gone by now. */
function lessOne(during: BayesAnswer): BayesAnswer {
  return isCounted(during) ? { ...during, nspam: during.nspam - 1 } : during;
}
