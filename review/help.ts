/**
 * help — what `--help` prints, for the whole command line and for one command.
 *
 * The text is the manual's first page: purpose, words, options, an example, the exit codes that matter.
 */

const overview = `Sluice, an after-queue content filter for Postfix.

Usage: sluice COMMAND [WORDS] [--config FILE] [--json]

  run [all|filter]             take mail from Postfix, filter it, give it back
  scan FILE [--to RCPT]...     verdict and explanation for one message; nothing is moved
  policy explain RCPT          every effective value for a recipient, and where it was set
  policy check                 read sluice.yaml and policies.yaml; print every problem
  quarantine list              what is held, newest first
  quarantine show ID           why it is held, for whom, and what happened since
  quarantine release ID        give a held message back to Postfix

--config FILE   default: SLUICE_CONFIG, then /etc/sluice/sluice.yaml, then the embedded defaults
--json          one JSON value on standard output, for programs
--version       print the version
Exit codes: 0 ok, 1 negative finding, 64 usage, 69 unavailable, 75 try again, 78 configuration

"sluice COMMAND --help" tells more about one command.`;

const pages: Readonly<Record<string, string>> = {
  run: `Usage: sluice run [all|filter] [--config FILE]

Runs Sluice in the foreground; events go to standard output, one JSON line each.
  all      (default) supervises the filter process and restarts it when it dies
  filter   the filter process alone

SIGHUP reloads policies.yaml. SIGTERM stops accepting, finishes what is in flight, ends with 0.`,
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
  'quarantine list': `Usage: sluice quarantine list [--all] [--limit N] [--json]

Lists what is held, newest first. --all shows released, deleted and expired items as well; --limit N (default 50).`,
  'quarantine show': `Usage: sluice quarantine show ID [--json]

Shows envelope, verdict, score of each rule, thresholds with their origin, and per recipient what happened.`,
  'quarantine release': `Usage: sluice quarantine release ID [--recipient RCPT]... [--to RCPT]... [--force] [--json]

Gives a held message back to Postfix with its envelope and DSN parameters. Releasing twice delivers once.
  --recipient RCPT   only for this original recipient (default: everyone for whom it is held)
  --to RCPT          to another address instead; no delivery status is asked for, the held copies stay held
  --force            needed where the message is infected

Exit: 0 released, 1 nothing to release, 75 the return smtpd could not take it now (it stays held).`,
};

/** The page for one command, or the overview. */
export function help(command: string): string {
  return pages[command] ?? overview;
}
