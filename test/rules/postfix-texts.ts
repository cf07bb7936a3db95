/**
 * postfix-texts — a stock Postfix as text, a fragment pasted into it, and postconf(1) in miniature.
 *
 * `postconf -P` and `-e` do here what the real ones do to the lines that these tests use; test/e2e/postfix-fragment.test.ts
 * runs the real ones.
 */
import { type Config, parseConfig } from '../../rules/config.ts';
import type { PostfixTexts } from '../../rules/postfix-check.ts';
import { type Feed, fragmentOf } from '../../rules/postfix-fragment.ts';
import { formatFragment } from '../../rules/postfix-text.ts';

export const stockMain = `# See /usr/share/postfix/main.cf.dist for a commented, more complete version
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
compatibility_level = 3.6
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated
   defer_unauth_destination
myhostname = mx.example.com
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
inet_interfaces = all
`;

export const stockMaster = `# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
#smtp      inet  n       -       y       -       1       postscreen
submission inet n       -       y       -       -       smtpd
  -o syslog_name=postfix/submission
#     Instead of specifying complex smtpd_<xxx>_restrictions here,
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
#       -o smtp_helo_timeout=5 -o smtp_connect_timeout=5
`;

/** The configuration of a sluice.yaml. */
export function configOf(yaml = ''): Config {
  const { config, problems } = parseConfig({ file: 'sluice.yaml', text: yaml }, {});
  if (config === null) throw new Error(JSON.stringify(problems));
  return config;
}

/** A stock Postfix with the fragment of a configuration pasted into it and its commands run. */
export function pasted(config: Config, feed: Feed | null = null): PostfixTexts {
  const { fragment, problems } = fragmentOf(config, feed);
  if (fragment === null) throw new Error(problems.join('; '));
  const { main, master, commands } = formatFragment(fragment);
  return postconf(texts(stockMain + main, stockMaster + master), commands);
}

export function texts(main: string, master: string): PostfixTexts {
  return { main: { file: 'main.cf', text: main }, master: { file: 'master.cf', text: master } };
}

/** Runs every `postconf -e 'name = value'` and `postconf -P 'service/type/name=value'` of a text. */
export function postconf(before: PostfixTexts, commands: string): PostfixTexts {
  let { text: main } = before.main;
  let { text: master } = before.master;
  for (const [, flag, argument = ''] of commands.matchAll(/postconf -([eP]) '([^']*)'/g)) {
    if (flag === 'e') main = withParameter(main, argument);
    else master = withOption(master, argument);
  }
  return { ...before, main: { ...before.main, text: main }, master: { ...before.master, text: master } };
}

/** Number of the first line that matches, as findings name it. */
export function lineOf(text: string, pattern: RegExp): number {
  const at = text.split('\n').findIndex((line) => pattern.test(line));
  if (at === -1) throw new Error(`no line matches ${pattern}`);
  return at + 1;
}

function withParameter(main: string, argument: string): string {
  const [name = ''] = argument.split(' ');
  const kept = main.split('\n').filter((line) => !line.startsWith(`${name} =`));
  return `${kept.join('\n').trimEnd()}\n${argument}\n`;
}

function withOption(master: string, argument: string): string {
  const [, name = '', type = '', setting = ''] = /^(.*)\/(inet|unix|pass)\/([^/].*)$/s.exec(argument) ?? [];
  const lines = master.split('\n');
  const head = lines.findIndex((line) => {
    const [first, second] = line.split(/\s+/);
    return first === name && second === type;
  });
  if (head === -1) return master;
  let end = head + 1;
  while (/^(?:\s+\S|#)/.test(lines[end] ?? '') && !/^# \S/.test(lines[end] ?? '')) end++;
  const isOther = (line: string) => !new RegExp(`-o (?:\\{ )?${setting.split('=')[0]} ?=`).test(line);
  const own = lines.slice(head + 1, end).filter(isOther);
  return [...lines.slice(0, head + 1), `    -o ${setting}`, ...own, ...lines.slice(end)].join('\n');
}
