/**
 * bayes-rounds — what `sluice run bayes` does every minute beside the nightly run, on either node.
 *
 * On a primary: fetches from each node of bayes.nodes what that one held and was taught. On a backup that calls by itself
 * (bayes.primary): hands it over. On every backup: looks how old the map of recipients is. Never rejects; that the other node is
 * away is a line for debugging, since the nightly run raises the alarm; what else can't be carried is told once.
 */
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import { domainsOf, staleHours } from '../rules/postfix-backup.ts';
import { type Call, createCall } from '../workers/bayes-ssh.ts';
import type { Log } from '../workers/log.ts';
import { domainsHere } from '../workers/postmap.ts';
import type { Site } from '../workers/site.ts';
import { judgeRecipients } from '../workers/stale-recipients.ts';
import { createOwnerCall } from './bayes-as-owner.ts';
import { createSetBack, type Errands, runErrands, type SetBack } from './bayes-errands.ts';

/** What a round works with; `script` is what stands behind node when Sluice is started. */
export type Round = {
  readonly site: Site;
  readonly script: string;
  readonly log: Log;
  readonly signal: AbortSignal;
};

/** What a round came to, by node; empty where there is none to talk to. */
export type RoundTrip = { readonly node: string; readonly errands: Errands };

/** One round, side by side; ends with the last of its trips. */
export async function goRound(round: Round): Promise<readonly RoundTrip[]> {
  await lookAtRecipients(round);
  return Promise.all(tripsOf(round).map(({ go }) => go(createSetBack())));
}

/**
 * Rounds one after the other. A node that hangs keeps neither the others nor the look at the map waiting: after `patienceMs` the
 * round is over, and the next ones leave that node out until its trip has ended, which `tell` hears of then. Kept for the life of the
 * part.
 */
export function createRounds(
  tell: (trips: readonly RoundTrip[]) => void,
  patienceMs = minuteMs,
): (round: Round) => Promise<void> {
  const underWay = new Map<string, Promise<void>>();
  const setBacks = new Map<string, SetBack>();
  return async (round) => {
    await lookAtRecipients(round);
    for (const { node, go } of tripsOf(round)) {
      if (underWay.has(node)) continue;
      const setBack = setBacks.get(node) ?? createSetBack();
      setBacks.set(node, setBack);
      const trip = go(setBack)
        .then((gone) => tell([gone]))
        .finally(() => underWay.delete(node));
      underWay.set(node, trip);
    }
    await within(patienceMs, Promise.all(underWay.values()));
  };
}

const minuteMs = 60_000;

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([work, over]).finally(() => clearTimeout(timer));
}

type Trip = { readonly node: string; readonly go: (setBack: SetBack) => Promise<RoundTrip> };

/** Each node there is to talk to, and how. */
function tripsOf({ site, script, log, signal }: Round): Trip[] {
  const { config, configFile } = site;
  const here = createOwnerCall({ script, configFile, signal });
  const { nodes, primary, ssh } = config.bayes;
  const trip = (peer: SshNode, way: (there: Call) => readonly [from: Call, to: Call]): Trip => {
    const node = formatNode(peer);
    const [from, to] = way(createCall(peer, ssh, signal));
    return {
      node,
      go: async (setBack) => ({ node, errands: await runErrands(from, to, log, signal, setBack) }),
    };
  };
  return [
    ...nodes.map((node) => trip(node, (there) => [there, here])),
    ...(primary === null ? [] : [trip(primary, (there) => [here, there])]),
  ];
}

/**
 * Tells of each node where something can't be carried though it answers, when that begins and when it is over; kept for the
 * life of the part.
 */
export function createNews(log: Log): (trips: readonly RoundTrip[]) => void {
  const troubled = new Set<string>();
  return (trips) => {
    for (const { node, errands } of trips) {
      const [trouble] = errands.troubles.filter(({ step }) => step !== 'connect');
      if (trouble !== undefined && !troubled.has(node)) {
        troubled.add(node);
        const { step, message, remedy } = trouble;
        log.warn(
          { node, step, problem: message, remedy },
          'Cannot carry all of what a backup holds and was taught: tried again each minute',
        );
      }
      // A node that is away neither has trouble nor is over it.
      if (errands.troubles.length === 0 && troubled.delete(node))
        log.info({ node }, 'What a backup holds and was taught is carried again');
    }
  };
}

async function lookAtRecipients({ site, log }: Round): Promise<void> {
  const { config, policies } = site;
  const { recipients: file } = config.bayes;
  if (config.role !== 'backup' || file === null) return;
  try {
    const domains = [...domainsOf(policies), ...(await domainsHere()).map((domain) => `!${domain}`)];
    const { state, ageHours, changed } = await judgeRecipients({
      file,
      domains,
      hours: staleHours,
      now: Date.now(),
    });
    if (!changed) return;
    const about = { file, ageHours: ageHours === null ? null : Math.round(ageHours * 10) / 10 };
    if (state === 'stale')
      log.warn(about, 'The map of recipients is stale: unknown ones get 450 from now on');
    else log.info(about, 'The map of recipients is fresh: unknown ones are refused');
  } catch (cause) {
    log.warn({ err: cause, file }, 'Cannot keep the table for unknown recipients: the old one holds');
  }
}
