/**
 * bayes-letter — the mail about the Bayes sync: one for a trouble, one for its end.
 *
 * Hides its words, and what was mailed already. What the return smtpd does not take stays owed, and is sent at the next look.
 * Never rejects.
 */
import type { Told, ToldTrouble } from './bayes-told.ts';
import type { Log } from './log.ts';
import type { Notice } from './notice.ts';

/** Whom to write to, by which way, and from which machine. */
export type Recipient = { readonly to: string; readonly send: Notice; readonly host: string };

/** Sends what no mail has said yet, in one mail; `told` remembers what went out. `mail` null: nobody wants any. */
export function createPost({
  mail,
  log,
}: {
  mail: Recipient | null;
  log: Log;
}): (told: Told) => Promise<void> {
  let isDown = false;
  return async (told) => {
    const fresh = told.told.filter(({ mailed }) => !mailed);
    if (mail === null || fresh.length + told.over.length === 0) return;
    try {
      await mail.send({ to: mail.to, ...letterOf(fresh, told, mail.host) });
      for (const one of fresh) one.mailed = true;
      told.over = [];
      isDown = false;
    } catch (cause) {
      const about = { err: cause, to: mail.to, alarm: true };
      if (!isDown) log.error(about, 'Cannot mail the Bayes alarm: tried again each minute');
      isDown = true;
    }
  };
}

function letterOf(
  fresh: readonly ToldTrouble[],
  { told, over }: Told,
  host: string,
): { subject: string; text: string } {
  const nodes = [...new Set((fresh.length > 0 ? fresh : over).map(({ node }) => node))].join(', ');
  const state =
    fresh.length > 0 ? 'needs somebody' : told.length > 0 ? 'is partly good again' : 'is good again';
  const lines = [
    ...fresh.map(({ node, message, remedy }) => `${node}: ${message}\n  What to do: ${remedy}\n`),
    ...over.map(
      ({ node, message, since }) =>
        `${node}: good again since now. It was, from ${timeOf(since)} on: ${message}\n`,
    ),
    ...told
      .filter((one) => !fresh.includes(one))
      .map(({ node, message }) => `${node}: still so: ${message}\n`),
    `Spam scores of mail do not wait for this: each node goes on with the database that it has.`,
    `No other mail comes about the same trouble until it is over. "sluice bayes status" shows how it stands.`,
    `Sluice on ${host}`,
  ];
  return { subject: `Sluice: Bayes sync with ${nodes} ${state}`, text: `${lines.join('\n')}\n` };
}

function timeOf(at: number): string {
  return `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
