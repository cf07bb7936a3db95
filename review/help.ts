/**
 * help — what `--help` prints, for the whole command line and for one command.
 *
 * The text is the manual's first page: purpose, words, options, an example, the exit codes that matter.
 */

const overview = `Sluice, an after-queue content filter for Postfix.

Usage: sluice COMMAND [WORDS] [--config FILE] [--json]

  run [all|filter|worker]      take mail from Postfix, filter it, give it back
  check [--probe ADDRESS]      everything around Sluice that mail depends on, each mistake with its remedy
  postfix [--feed lmtp|smtp]   what to add to main.cf and master.cf for this configuration
  scan FILE [--to RCPT]...     verdict and explanation for one message; nothing is moved
  policy explain RCPT          every effective value for a recipient, and where it was set
  policy check                 read sluice.yaml and policies.yaml; print every problem
  quarantine list              what waits for a decision, newest first
  quarantine search QUERY      held messages by words, sender, score, time
  quarantine show ID           why it is held, for whom, and what happened since
  quarantine release ID...     give held messages back to Postfix
  quarantine delete ID...      delete held messages
  quarantine learn AS ID...    teach SpamAssassin: AS is spam, ham or forget
  quarantine export ID         the message itself, as it was scanned
  queue status                 what waits in Redis for workers, and which workers are alive
  history [QUERY]              what became of every message, for each recipient

--config FILE   default: SLUICE_CONFIG, then /etc/sluice/sluice.yaml, then the embedded defaults
--json          one JSON value on standard output, for programs
--version       print the version
Exit codes: 0 ok, 1 negative finding, 64 usage, 69 unavailable, 70 a bug, 75 try again, 78 configuration

"sluice COMMAND --help" tells more about one command.`;

/** The language of queries, and what `state:` means here. */
function words(states: string): string {
  return `Words are ANDed and found anywhere, in upper case or lower:
  invoice   "two words"   -not-this   from:bob   to:@example.com   subject:"your order"   virus:Eicar   verdict:virus
  score:>6.5   score:<2   after:7d   before:2026-01-31   id:4c7Yx1   ${states}
from, to, subject and virus take any part of a word, id a whole queue id, message id or quarantine id.
Quote marks, blanks, < and > for the shell: 'subject:"your order"' 'score:>6.5'`;
}

function matching(what: string): string {
  return `  --all-matching QUERY   all that "quarantine search QUERY" finds; says how many, and does nothing
  --confirm N            ${what} them, if N is how many there are`;
}

const pages: Readonly<Record<string, string>> = {
  run: `Usage: sluice run [all|filter|worker] [--scanners virus,spam] [--config FILE]

Runs Sluice in the foreground; events go to standard output, one JSON line each.
  all      (default) supervises the filter, and a worker where redis and a scanner are configured; restarts who dies
  filter   the filter process alone
  worker   a worker alone: takes scans from Redis; needs neither Postfix nor the state folder
  --scanners virus,spam   what this worker scans for; default: every scanner that is configured here

SIGHUP reloads policies.yaml. SIGTERM stops accepting, finishes what is in flight, ends with 0.`,
  check: `Usage: sluice check [--probe ADDRESS] [--clamd-config FILE] [--postfix-config DIR]
                    [--spamd-user USER] [--spamd-config DIR] [--json]

Looks at configuration, state folder, clamd, spamd, Redis and its workers, return smtpd and Postfix's files, and prints a line for each thing: ok,
warn or FAIL; what to do stands at the end. Safe beside a running Sluice. As root it sees more: how spamd was started,
and sa-learn as its user; the rest is done as the owner of the state folder, as Sluice runs.
  --probe ADDRESS        also sends one message to ADDRESS behind the filter, and proves that it does not come back
  --clamd-config FILE    default: /etc/clamav/clamd.conf, where that is the file of the clamd that is asked
  --postfix-config DIR   default: /etc/postfix
  --spamd-user USER      whose Bayes database sa-learn shall read; default: the user that spamd works as
  --spamd-config DIR     its site configuration; default: the one that spamd was started with

  sluice check --probe postmaster@example.com

Exit: 0 nothing failed (there may be warnings), 1 something failed, 78 sluice.yaml or policies.yaml have problems.`,
  postfix: `Usage: sluice postfix [--feed lmtp|smtp] [--json]

Prints what Postfix needs for this configuration, each setting with its reason: lines for main.cf, entries for master.cf,
and commands for the services that you have already. Reads and changes no file of Postfix.
  --feed lmtp   (default) one reply per recipient; needs listen.lmtp
  --feed smtp   one reply for all recipients; needs listen.smtp

  sluice postfix --config /etc/sluice/sluice.yaml

With listen.outbound set, submission and pickup get a feed of their own; else their mail is not filtered.
Exit: 0 printed, 78 Postfix can't be told (the reason says which key).`,
  scan: `Usage: sluice scan FILE [--to RCPT]... [--from SENDER] [--json]

Asks both scanners about the message in FILE (- for standard input) and decides for each recipient, as the running
filter would. Nothing is delivered, held or noted. Without --to the default policy decides.

  sluice scan suspicious.eml --to sales@example.com --to info@example.net

Exit: 0 clean, 1 spam or virus for at least one recipient, 75 a scanner could not tell.`,
  'policy explain': `Usage: sluice policy explain RCPT [--json]

Prints each effective value for this recipient and where it was set: file, line and key.

  sluice policy explain sales@example.com`,
  'policy check': `Usage: sluice policy check [--json]

Reads sluice.yaml and policies.yaml and prints every problem with file, line and remedy. Exit: 0 none, 78 problems.`,
  'import amavis': `Usage: sluice import amavis FILE... [--sql DUMP]... [--write FILE] [--json]

Reads amavisd-new's configuration, without running it, and prints the policies.yaml that says the same, each value with its
source. A folder stands for the files in it; later files win, as with amavisd-new. What can't be carried over goes to standard
error: where it stands, and what to do by hand.
  --sql DUMP     the tables users, policy, mailaddr and wblist, dumped by mysqldump, pg_dump or sqlite3
  --write FILE   write the policies into a file that is not there yet, instead of printing them
Lists that read_hash and read_array name are read only when they are named here too.

  sluice import amavis /usr/share/amavis/conf.d /etc/amavis/conf.d --sql amavis.sql > policies.yaml

Exit: 0 all carried over, 1 something was not, 69 a file can't be read or written.`,
  'quarantine list': `Usage: sluice quarantine list [--all] [--limit N] [--before ID] [--json]

Lists what waits for a decision, newest first: held, and releases that got stuck (releasing, unconfirmed).
  --all         released, deleted and expired items as well
  --limit N     default 50
  --before ID   the next page: what was held before this one`,
  'quarantine search': `Usage: sluice quarantine search QUERY... [--all] [--limit N] [--before ID] [--json]

Lists what the query finds among what waits for a decision, newest first.
${words('state:released (a state named here finds\n  more than what waits: held, releasing, released, unconfirmed, deleted, expired)')}

  sluice quarantine search from:@shop.example -invoice 'score:>12'

Options as for "quarantine list".`,
  'quarantine show': `Usage: sluice quarantine show ID [--json]

Shows envelope, verdict, score of each rule with its description, the thresholds of each recipient and where they were
set, and what happened to each recipient's copy, step by step.`,
  'quarantine release': `Usage: sluice quarantine release ID... [--recipient RCPT]... [--to RCPT]... [--force] [--again] [--json]
       sluice quarantine release --all-matching QUERY [--confirm N]

Gives held messages back to Postfix with their envelope and DSN parameters. Releasing twice delivers once.
  --recipient RCPT   only for this original recipient (default: everyone for whom it is held)
  --to RCPT          to another address instead; no delivery status is asked for, the held copies stay held
  --force            needed where the message is infected
  --again            also what an earlier release left unconfirmed: it may arrive twice
${matching('release')}

Per recipient: released; held (the return smtpd could not take it now); refused (it does not want it; stays held);
unconfirmed (it may have arrived, nobody can tell); skipped (not held any more).

Exit: 0 released, 1 refused, unconfirmed or nothing to release, 69 no such item, 75 try again.`,
  'quarantine delete': `Usage: sluice quarantine delete ID... [--recipient RCPT]... [--json]
       sluice quarantine delete --all-matching QUERY [--confirm N]

Deletes held copies. With the last copy of an item the message itself is gone; that it was, and who deleted it, stays
known for some days, and in the history.
  --recipient RCPT   only this recipient's copy
${matching('delete')}

Exit: 0 deleted, 1 nothing to delete, 69 no such item, 75 try again.`,
  'quarantine learn': `Usage: sluice quarantine learn spam|ham|forget ID... [--json]
       sluice quarantine learn spam|ham|forget --all-matching QUERY [--confirm N]

Teaches SpamAssassin's Bayes filter the message as it was scanned; spamd must run with --allow-tell. Learning is
possible as long as the message is there: after a release, too. forget takes back what was learnt.
${matching('learn')}

  sluice quarantine learn ham 9f86d081884c7d659a2feaa0c55ad015

Exit: 0 learned, 1 nothing to do for spamd, 69 not allowed or no such item, 75 try again.`,
  'quarantine export': `Usage: sluice quarantine export ID [--output FILE] [--json]

Writes the message, byte for byte as it was scanned, to standard output.
  --output FILE   into this file instead, which must not be there yet

  sluice quarantine export 9f86d081884c7d659a2feaa0c55ad015 --output suspicious.eml`,
  'queue status': `Usage: sluice queue status [--json]

Shows how many scans wait in Redis and how old the oldest is, the workers that are alive (host, process, version, whether
their scanners answer, jobs under way of those at once) and the filters. Only where redis is set.

Exit: 0 every queue has a worker whose scanner answers, 1 one has none, 69 redis is not set, 75 Redis can't be asked.`,
  history: `Usage: sluice history [QUERY]... [--limit N] [--before SCANID] [--json]

Lists what became of every message, newest first, one line per recipient, with Postfix's queue id in front and behind.
${words('state:held (delivered, held, discarded,\n  refused or deferred)')}
  --limit N         messages, default 50
  --before SCANID   the next page; --json shows each message's scanId

  sluice history to:anna@example.com after:2d
  sluice history 4c7Yx1

In mode: observe "delivered, would quarantine" is what the filter would have done.`,
};

/** The page for one command, or the overview. */
export function help(command: string): string {
  return pages[command] ?? overview;
}
