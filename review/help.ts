/**
 * help — what `--help` prints, for the whole command line and for one command.
 *
 * The text is the manual's first page: purpose, words, options, an example, the exit codes that matter.
 */

const overview = `Sluice, an after-queue content filter for Postfix.

Usage: sluice COMMAND [WORDS] [--config FILE] [--json]

  run [all|filter]             take mail from Postfix, filter it, give it back
  check [--probe ADDRESS]      everything around Sluice that mail depends on, each mistake with its remedy
  postfix [--feed lmtp|smtp]   what to add to main.cf and master.cf for this configuration
  scan FILE [--to RCPT]...     verdict and explanation for one message; nothing is moved
  policy explain RCPT          every effective value for a recipient, and where it was set
  policy check                 read sluice.yaml and policies.yaml; print every problem
  quarantine list              what waits for a decision, newest first
  quarantine show ID           why it is held, for whom, and what happened since
  quarantine release ID        give a held message back to Postfix

--config FILE   default: SLUICE_CONFIG, then /etc/sluice/sluice.yaml, then the embedded defaults
--json          one JSON value on standard output, for programs
--version       print the version
Exit codes: 0 ok, 1 negative finding, 64 usage, 69 unavailable, 70 a bug, 75 try again, 78 configuration

"sluice COMMAND --help" tells more about one command.`;

const pages: Readonly<Record<string, string>> = {
  run: `Usage: sluice run [all|filter] [--config FILE]

Runs Sluice in the foreground; events go to standard output, one JSON line each.
  all      (default) supervises the filter process and restarts it when it dies
  filter   the filter process alone

SIGHUP reloads policies.yaml. SIGTERM stops accepting, finishes what is in flight, ends with 0.`,
  check: `Usage: sluice check [--probe ADDRESS] [--clamd-config FILE] [--postfix-config DIR]
                    [--spamd-user USER] [--spamd-config DIR] [--json]

Looks at configuration, state folder, clamd, spamd, return smtpd and Postfix's files, and prints a line for each thing: ok,
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
  'quarantine list': `Usage: sluice quarantine list [--all] [--limit N] [--json]

Lists what waits for a decision, newest first: held, and releases that got stuck (releasing, unconfirmed).
  --all       released, deleted and expired items as well
  --limit N   default 50`,
  'quarantine show': `Usage: sluice quarantine show ID [--json]

Shows envelope, verdict, score of each rule, thresholds with their origin, and per recipient what happened.`,
  'quarantine release': `Usage: sluice quarantine release ID [--recipient RCPT]... [--to RCPT]... [--force] [--again] [--json]

Gives a held message back to Postfix with its envelope and DSN parameters. Releasing twice delivers once.
  --recipient RCPT   only for this original recipient (default: everyone for whom it is held)
  --to RCPT          to another address instead; no delivery status is asked for, the held copies stay held
  --force            needed where the message is infected
  --again            also what an earlier release left unconfirmed: it may arrive twice

Per recipient: released; held (the return smtpd could not take it now); refused (it does not want it; stays held);
unconfirmed (it may have arrived, nobody can tell); skipped (not held any more).

Exit: 0 released, 1 refused, unconfirmed or nothing to release, 75 try again.`,
};

/** The page for one command, or the overview. */
export function help(command: string): string {
  return pages[command] ?? overview;
}
