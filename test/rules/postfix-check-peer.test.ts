/**
 * postfix-check-peer — what would turn the backup away is found with its line, and what lets it in is never called wrong.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { accessFiles, type Backup, checkBackups } from '../../rules/postfix-check-peer.ts';
import { configOf, lineOf, stockMain, stockMaster, texts } from './postfix-texts.ts';

const backup: Backup = { node: 'root@mx2.example.com', addresses: ['192.0.2.7', '2001:db8::7'] };
const trusting = stockMain.replace('mynetworks = ', 'mynetworks = 192.0.2.7 [2001:db8::]/64 ');
const strict = `smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination,
  reject_unknown_client_hostname, check_policy_service unix:private/postgrey\n`;

type Case = {
  readonly label: string;
  readonly main?: string;
  readonly master?: string;
  readonly tables?: readonly { file: string; text: string }[];
};

function findingsOf({ main = stockMain, master = stockMaster, tables = [] }: Omit<Case, 'label'>) {
  return checkBackups({ ...texts(main, master), tables }, configOf(), [backup]);
}

const good: readonly Case[] = [
  { label: 'a stock Postfix' },
  { label: 'it is in mynetworks, strict rules behind it', main: trusting + strict },
  {
    label: 'postgrey behind a table that lets it pass',
    main: `${stockMain}smtpd_client_restrictions = check_client_access cidr:/etc/postfix/nodes, check_policy_service inet:127.0.0.1:10023\n`,
    tables: [{ file: '/etc/postfix/nodes', text: '# ours\n192.0.2.7 OK\n2001:db8::/48 OK\n' }],
  },
  {
    label: 'mynetworks out of a table',
    main: `${stockMain.replace(/^mynetworks = .*$/m, 'mynetworks = cidr:/etc/postfix/nets')}${strict}`,
    tables: [{ file: '/etc/postfix/nets', text: '192.0.2.0/24 x\n2001:db8::/32 x\n' }],
  },
  {
    label: 'a rule that is only tried',
    main: `${stockMain}smtpd_client_restrictions = warn_if_reject reject_unknown_client_hostname\n`,
  },
  { label: 'permit first', main: `${stockMain}smtpd_client_restrictions = permit, reject\n` },
  { label: 'rates, and it is an exception', main: `${trusting}smtpd_client_message_rate_limit = 10\n` },
  { label: 'fewer connections, yet enough', main: `${stockMain}smtpd_client_connection_count_limit = 20\n` },
  {
    label: 'postscreen that only writes a log',
    master: stockMaster.replace('#smtp ', 'smtp ').replace('smtpd\nsmtp', 'smtpd\n#smtp'),
  },
  {
    label: 'postscreen with teeth that knows it',
    main: `${trusting}postscreen_greet_action = enforce\n`,
    master: `${stockMaster}25 inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd\n`,
  },
];

suite('checkBackups() has nothing against', () => {
  for (const { label, ...site } of good)
    test(label, () => {
      const found = findingsOf(site);
      assert.deepEqual(
        found.map(({ level }) => level),
        ['ok'],
        JSON.stringify(found, null, 1),
      );
    });
});

type Mistake = Case & {
  readonly level: 'warn' | 'fail';
  readonly what: RegExp;
  readonly remedy: RegExp;
  readonly at: readonly ['main' | 'master', RegExp];
};

const inNetworks = /^postconf -e 'mynetworks = 192\.0\.2\.7 \[2001:db8::7\] 127\.0\.0\.0\/8 /;
const mistakes: readonly Mistake[] = [
  {
    label: 'greylisting',
    level: 'warn',
    main: `${stockMain}smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, check_policy_service unix:private/postgrey\n`,
    what: /smtpd smtp: smtpd_recipient_restrictions asks a policy service, which may greylist it \(unix:private\/postgrey\) before it lets root@mx2/,
    remedy: inNetworks,
    at: ['main', /^smtpd_recipient/],
  },
  {
    label: 'greylisting, the backup is trusted too late',
    level: 'warn',
    main: `${trusting}smtpd_client_restrictions = check_policy_service inet:127.0.0.1:10023, permit_mynetworks\n`,
    what: /may greylist it \(inet:127/,
    remedy:
      /^postconf -e 'smtpd_client_restrictions = permit_mynetworks check_policy_service inet:127\.0\.0\.1:10023/,
    at: ['main', /^smtpd_client/],
  },
  {
    label: 'only one of its addresses is trusted',
    level: 'warn',
    main: `${stockMain.replace('mynetworks = ', 'mynetworks = 192.0.2.0/24 ')}${strict}`,
    what: /refuses it when its name in the DNS is not in order/,
    remedy: /2001:db8::7/,
    at: ['main', /^smtpd_recipient/],
  },
  {
    label: 'taken out of mynetworks',
    level: 'warn',
    main: `${stockMain.replace('mynetworks = ', 'mynetworks = !192.0.2.7 192.0.2.0/24 [2001:db8::]/32 ')}${strict}`,
    what: /not in order/,
    remedy: /mynetworks/,
    at: ['main', /^smtpd_recipient/],
  },
  {
    label: 'a blocklist',
    level: 'warn',
    main: `${stockMain}smtpd_client_restrictions = permit_mynetworks, reject_rbl_client zen.example\n`,
    what: /refuses it when a list names it \(reject_rbl_client\)/,
    remedy: inNetworks,
    at: ['main', /^smtpd_client/],
  },
  {
    label: 'senders that the DNS does not know',
    level: 'warn',
    main: `${stockMain}smtpd_sender_restrictions = reject_unknown_sender_domain\n`,
    what: /it must bounce it \(reject_unknown_sender_domain\)/,
    remedy: /smtpd_sender_restrictions = permit_mynetworks reject_unknown_sender_domain/,
    at: ['main', /^smtpd_sender/],
  },
  {
    label: 'HELO',
    level: 'warn',
    main: `${stockMain}smtpd_helo_restrictions = reject_unknown_helo_hostname\n`,
    what: /for its HELO/,
    remedy: /smtpd_helo_restrictions/,
    at: ['main', /^smtpd_helo/],
  },
  {
    label: 'a class of restrictions',
    level: 'warn',
    main: `${stockMain}smtpd_restriction_classes = grey\ngrey = check_policy_service unix:grey\nsmtpd_client_restrictions = grey\n`,
    what: /may greylist it \(unix:grey\)/,
    remedy: /mynetworks/,
    at: ['main', /^smtpd_client/],
  },
  {
    label: 'everybody but mynetworks is refused',
    level: 'fail',
    main: `${stockMain}smtpd_client_restrictions = permit_mynetworks, reject\n`,
    what: /smtpd_client_restrictions refuses it \(reject\)/,
    remedy: inNetworks,
    at: ['main', /^smtpd_client/],
  },
  {
    label: 'in master.cf',
    level: 'warn',
    master: stockMaster.replace(
      'smtpd\n',
      'smtpd\n  -o smtpd_client_restrictions=check_policy_service,unix:grey\n',
    ),
    what: /may greylist it/,
    remedy:
      /postconf -P 'smtp\/inet\/smtpd_client_restrictions=permit_mynetworks,check_policy_service,unix:grey/,
    at: ['master', /smtpd_client/],
  },
  {
    label: 'a table that refuses it',
    level: 'warn',
    main: `${stockMain}smtpd_client_restrictions = check_client_access cidr:/etc/postfix/nodes, check_policy_service unix:grey\n`,
    tables: [{ file: '/etc/postfix/nodes', text: '192.0.2.7 REJECT\n2001:db8::7 OK\n' }],
    what: /may greylist/,
    remedy: /mynetworks/,
    at: ['main', /^smtpd_client/],
  },
  {
    label: 'a table that was not read',
    level: 'warn',
    main: `${stockMain}smtpd_client_restrictions = check_client_access hash:/etc/postfix/nodes, check_policy_service unix:grey\n`,
    what: /may greylist/,
    remedy: /mynetworks/,
    at: ['main', /^smtpd_client/],
  },
  {
    label: 'messages are counted',
    level: 'warn',
    main: `${stockMain}smtpd_client_message_rate_limit = 30\n`,
    what: /smtpd_client_message_rate_limit = 30 holds for root@mx2.* too/,
    remedy:
      /^postconf -e 'smtpd_client_event_limit_exceptions = 192\.0\.2\.7 \[2001:db8::7\] 127\.0\.0\.0\/8 .*'$/,
    at: ['main', /^smtpd_client_message/],
  },
  {
    label: 'two connections at once',
    level: 'warn',
    main: `${stockMain}smtpd_client_connection_count_limit = 2\n`,
    what: /connection_count_limit = 2/,
    remedy: /exceptions/,
    at: ['main', /^smtpd_client_connection/],
  },
  {
    label: 'postscreen with teeth',
    level: 'warn',
    main: `${stockMain}postscreen_bare_newline_enable = yes\n`,
    master: `${stockMaster}25 inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd\n`,
    what: /postscreen tests root@mx2/,
    remedy: inNetworks,
    at: ['master', /^25 inet/],
  },
];

suite('checkBackups() names', () => {
  for (const { label, level, what, remedy, at, ...site } of mistakes)
    test(label, () => {
      const found = findingsOf(site);
      assert.equal(found.length, 1, JSON.stringify(found, null, 1));
      const [finding] = found;
      assert.ok(finding !== undefined);
      assert.equal(finding.level, level);
      assert.match(finding.what, what);
      assert.match(finding.remedy ?? '', remedy);
      const text = at[0] === 'main' ? (site.main ?? stockMain) : (site.master ?? stockMaster);
      assert.equal(finding.where, `${at[0]}.cf:${lineOf(text, at[1])}`);
    });
});

test('checkBackups() does what its remedies say: with them nothing is left', () => {
  for (const { label, level: _, what: _what, remedy: _remedy, at, ...site } of mistakes) {
    if (at[0] === 'master' && label === 'in master.cf') continue; // postconf -P is another test's
    let main = site.main ?? stockMain;
    // A table that refuses the node comes first: the order of the remedy puts mynetworks before it.
    for (let rounds = 0; rounds < 3; rounds++) {
      const commands = findingsOf({ ...site, main })
        .flatMap(({ remedy }) => remedy ?? [])
        .join('; ');
      for (const [, name = '', value = ''] of commands.matchAll(/postconf -e '(\w+) = ([^']*)'/g))
        main = `${main.replaceAll(new RegExp(`^${name} = .*\\n(?:[ \\t].*\\n)*`, 'gm'), '')}${name} = ${value}\n`;
    }
    const left = findingsOf({ ...site, main });
    assert.deepEqual(
      left.map((finding) => finding.level),
      ['ok'],
      `${label}: ${JSON.stringify(left)}`,
    );
  }
});

test('accessFiles() names the tables that can be read', () => {
  const main =
    'smtpd_client_restrictions = check_client_access cidr:/etc/postfix/a,\n  check_client_access hash:/etc/postfix/b\nmynetworks = regexp:/etc/postfix/c\n';
  const master = 'smtp inet n - y - - smtpd\n  -o mynetworks=texthash:/etc/postfix/d\n';
  assert.deepEqual(accessFiles(texts(main, master)), ['/etc/postfix/a', '/etc/postfix/b', '/etc/postfix/d']);
});
