/**
 * postfix-fragment — the settings for a configuration, as data and as text; the documentation shows the same text.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Config } from '../../rules/config.ts';
import { parseMain, parseMaster } from '../../rules/postfix-files.ts';
import {
  type Feed,
  type Fragment,
  fragmentOf,
  messageSizeMaxOf,
  optionsOf,
} from '../../rules/postfix-fragment.ts';
import { formatFragment } from '../../rules/postfix-text.ts';
import { configOf } from './postfix-texts.ts';

test('fragmentOf() takes LMTP unless asked otherwise, and SMTP where there is no LMTP listener', () => {
  const table: { yaml: string; feed: Feed | null; command: string; filter: string }[] = [
    { yaml: '', feed: null, command: 'lmtp', filter: 'scan:[127.0.0.1]:10023' },
    { yaml: '', feed: 'smtp', command: 'smtp', filter: 'scan:[127.0.0.1]:10024' },
    { yaml: 'listen: { lmtp: null }', feed: null, command: 'smtp', filter: 'scan:[127.0.0.1]:10024' },
    { yaml: 'listen: { lmtp: "[::1]:2003" }', feed: null, command: 'lmtp', filter: 'scan:[::1]:2003' },
    { yaml: 'listen: { lmtp: "unix:/run/s" }', feed: 'lmtp', command: 'lmtp', filter: 'scan:unix:/run/s' },
  ];
  for (const { yaml, feed, command, filter } of table) {
    const fragment = made(configOf(yaml), feed);
    assert.equal(fragment.services[0]?.command, command, yaml);
    assert.equal(mainOf(fragment).content_filter, filter);
    const names = Object.keys(optionsOf(fragment, 'scan/unix'));
    assert.ok(names.every((name) => name.startsWith(`${command}_`) || name.startsWith('disable_')));
  }
});

test('fragmentOf() keeps own users out of the filter without listen.outbound, and sends them there with it', () => {
  const without = made(configOf());
  const services = ['submission/inet', 'submissions/inet', 'smtps/inet', 'pickup/unix'];
  for (const service of services) assert.deepEqual(optionsOf(without, service), { content_filter: '' });
  const fragment = made(configOf('listen: { outbound: "127.0.0.1:10026" }'));
  for (const service of services) {
    assert.deepEqual(optionsOf(fragment, service), {
      content_filter: 'scan-out:[127.0.0.1]:10026',
      receive_override_options: 'no_address_mappings',
    });
  }
  assert.equal(mainOf(fragment)['scan-out_destination_concurrency_failed_cohort_limit'], '1000');
  assert.equal(optionsOf(fragment, 'scan-out/unix').smtp_send_xforward_command, 'yes');
});

test('fragmentOf() holds scan <= limits.inFlight <= return smtpd, for any limit', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 10_000 }), fc.boolean(), (inFlight, outbound) => {
      const listen = outbound ? 'listen: { outbound: "127.0.0.1:10026" }' : '';
      const { services } = made(configOf(`limits: { inFlight: ${inFlight} }\n${listen}`));
      const count = (command: RegExp) =>
        services.filter((one) => command.test(one.command)).reduce((sum, { maxproc }) => sum + maxproc, 0);
      assert.ok(count(/^(?:lmtp|smtp)$/) <= inFlight);
      assert.ok(count(/^smtpd$/) > inFlight);
    }),
  );
});

test('fragmentOf() leaves headroom on either side of limits.messageBytes', () => {
  const fragment = made(configOf('limits: { messageBytes: 50MB }'));
  const bytes = 50 * 1024 ** 2;
  const back = Number(optionsOf(fragment, '127.0.0.1:10025/inet').message_size_limit);
  assert.equal(back, bytes + 102_400);
  assert.equal(optionsOf(fragment, 'return-cleanup/unix').message_size_limit, String(back));
  assert.equal(fragment.messageSizeMax, bytes - 524_288);
  assert.equal(messageSizeMaxOf(configOf('limits: { messageBytes: 1MB }')), 1024 ** 2 - 102_400);
});

test('fragmentOf() trusts the filter alone, wherever it is', () => {
  const table = [
    { yaml: '', back: '127.0.0.1:10025/inet', networks: '127.0.0.0/8' },
    { yaml: 'reinject: "[::1]:10025"', back: '[::1]:10025/inet', networks: '[::1]/128' },
    { yaml: 'reinject: unix:/var/spool/postfix/public/back', back: 'back/unix', networks: '127.0.0.0/8' },
    {
      yaml: 'listen: { lmtp: "10.0.0.5:1", smtp: "[fd00::5]:2", trustedClients: [10.0.0.6] }\nreinject: 10.0.0.6:10025',
      back: '10.0.0.6:10025/inet',
      networks: '10.0.0.5,[fd00::5]',
    },
  ];
  for (const { yaml, back, networks } of table) {
    const options = optionsOf(made(configOf(yaml)), back);
    assert.equal(options.mynetworks, networks);
    assert.equal(options.smtpd_authorized_xforward_hosts, networks);
  }
});

test('fragmentOf() says what keeps a configuration from a fragment, and what to write', () => {
  const table: { yaml: string; feed?: Feed; problem: RegExp }[] = [
    { yaml: 'listen: { lmtp: null }', feed: 'lmtp', problem: /listen\.lmtp is null: write an address/ },
    {
      yaml: 'listen: { smtp: "unix:/run/s" }',
      feed: 'smtp',
      problem: /smtp client can't reach: write host:port/,
    },
    { yaml: 'listen: { outbound: "unix:/run/s" }', problem: /listen\.outbound is a unix socket/ },
    {
      yaml: 'listen: { outbound: "127.0.0.1:10026" }\nlimits: { inFlight: 1 }',
      problem: /limits\.inFlight is 1.*write 2/,
    },
    { yaml: 'listen: { lmtp: "127.0.0.1:0" }', problem: /port 0: write the port/ },
    {
      yaml: 'reinject: unix:/run/back',
      problem: /public\/ or private\/ of its queue folder: write host:port/,
    },
    {
      yaml: 'listen: { lmtp: "0.0.0.0:10023", trustedClients: [10.0.0.6] }\nreinject: 10.0.0.6:10025',
      problem: /must know the address of the filter/,
    },
  ];
  for (const { yaml, feed, problem } of table) {
    const { fragment, problems } = fragmentOf(configOf(yaml), feed ?? null);
    assert.equal(fragment, null, yaml);
    assert.match(problems.join('\n'), problem);
  }
});

suite('formatFragment()', () => {
  test('says every setting with its reason, and nothing that the files would read otherwise', () => {
    for (const yaml of ['', 'listen: { outbound: "127.0.0.1:10026" }', 'limits: { inFlight: 3 }']) {
      const fragment = made(configOf(yaml));
      const { main, master, commands } = formatFragment(fragment);
      const parsedMain = parseMain({ file: 'main.cf', text: main });
      const parsed = parseMaster({ file: 'master.cf', text: master });
      assert.deepEqual([...parsedMain.problems, ...parsed.problems], []);
      for (const { service, name, value, why } of fragment.settings) {
        const entry = parsed.services.find((one) => `${one.name}/${one.type}` === service);
        const found = service === null ? parsedMain.parameters.get(name) : entry?.options.get(name);
        const text = entry === undefined ? (service === null ? main : commands) : master;
        assert.ok(text.includes(why), `${name}: no reason`);
        if (service === null || entry !== undefined) assert.equal(found?.value, value, `${service} ${name}`);
        else assert.ok(commands.includes(`postconf -P '${service}/${name}=${value}'\n`));
      }
      for (const { name, maxproc, command } of fragment.services) {
        const entry = parsed.services.find((one) => one.name === name);
        assert.deepEqual(
          { maxproc: entry?.maxproc, chroot: entry?.chroot, command: entry?.command },
          { maxproc: String(maxproc), chroot: 'n', command },
        );
      }
    }
  });

  test('writes no line over 120 columns, no tab, no blank at the end', () => {
    const texts = Object.values(formatFragment(made(configOf('listen: { outbound: "127.0.0.1:10026" }'))));
    for (const line of texts.join('').split('\n')) {
      assert.ok(line.length <= 120, line);
      assert.doesNotMatch(line, /\t|\s$/);
    }
  });

  test('docs/postfix.md shows the text for the default configuration', () => {
    const doc = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'postfix.md'), 'utf8');
    const blocks = [...doc.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].map(([, block]) => block);
    const { main, master, commands, removal } = formatFragment(made(configOf()));
    for (const text of [main, master, commands, removal])
      assert.ok(blocks.includes(text), `not in the document:\n${text}`);
  });
});

suite('formatRemoval()', () => {
  test('undoes every line of the fragment, and nothing else', () => {
    for (const yaml of ['', 'listen: { outbound: "127.0.0.1:10026" }', 'reinject: "[::1]:10025"']) {
      const fragment = made(configOf(yaml));
      const created = fragment.services.map(({ name, type }) => `${name}/${type}`);
      const undone = fragment.settings.flatMap(({ service, name }) => {
        if (service === null) return [`-X ${name}`];
        return created.includes(service) ? [] : [`-PX '${service}/${name}'`];
      });
      const wanted = [...undone, ...created.map((entry) => `-MX '${entry}'`)];
      const { removal } = formatFragment(fragment);
      const said = [...removal.matchAll(/^postconf (.*)$/gm)].map(([, words = '']) => words);
      assert.deepEqual(said.toSorted(), wanted.toSorted());
    }
  });

  test('lets aliases expand before mail loses its filter, and takes the way back away when nothing needs it', () => {
    const { bypass, removal } = formatFragment(made(configOf('listen: { outbound: "127.0.0.1:10026" }')));
    const order = (text: string) =>
      text
        .split('\n')
        .flatMap(
          (line) =>
            /receive_override|content_filter|-MX|reload$|^(?:sleep|postsuper|postkick) .*/.exec(line) ?? [],
        )
        .filter((word, at, all) => word !== all[at - 1]);
    const past = ['receive_override', 'reload', 'content_filter', 'reload'];
    const requeued = ['sleep 2', 'postsuper -r ALL', 'postkick public pickup W'];
    assert.deepEqual(order(bypass), [...past, ...requeued]);
    assert.deepEqual(order(removal), [...past, '-MX', 'reload', ...requeued]);
    for (const line of removal.split('\n').filter((one) => /^post(?:fix|super|kick)/.test(one)))
      assert.match(line, /^(?:postfix reload|postsuper -r ALL|postkick public pickup W)$/);
  });
});

function made(config: Config, feed: Feed | null = null): Fragment {
  const { fragment, problems } = fragmentOf(config, feed);
  assert.deepEqual(problems, []);
  assert.ok(fragment !== null);
  return fragment;
}

function mainOf(fragment: Fragment): Record<string, string> {
  const own = fragment.settings.filter(({ service }) => service === null);
  return Object.fromEntries(own.map(({ name, value }) => [name, value]));
}
