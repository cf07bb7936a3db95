/**
 * amavis-elsewhere — settings of amavisd.conf that belong into sluice.yaml, as the lines to write there.
 *
 * Hides how amavisd-new writes ports, ways back, sizes and virus scanners. It only tells: sluice.yaml is the
 * administrator's. It never throws.
 */
import { plain } from './amavis-notes.ts';
import type { Notes } from './amavis-notes.ts';
import type { AmavisSettings } from './amavis-settings.ts';
import { isInEffect } from './amavis-topics.ts';
import type { PerlConfig, PerlValue } from './perl-config.ts';

/** Settings of sluice.yaml; the remedy is the line to write. */
export function noteElsewhere(config: PerlConfig, settings: AmavisSettings, notes: Notes): void {
  const { variables } = config;
  const tell = (name: string, lineFor: (value: PerlValue) => string | null) => {
    const value = variables.get(name);
    const line = value === undefined || !isInEffect(value) ? null : lineFor(value);
    if (value !== undefined && line !== null) notes.add('elsewhere', value, name, line);
  };
  tell('$inet_socket_port', (value) => {
    const [first] = value.kind === 'list' ? value.items : [value];
    return first?.kind === 'text' && /^\d{1,5}$/.test(first.text)
      ? `listen: { smtp: 127.0.0.1:${first.text} }`
      : null;
  });
  tell('$forward_method', (value) => {
    const match =
      value.kind === 'text' ? /^(?:smtp|lmtp):\[?([\w.:-]+?)\]?:(\d{1,5})$/i.exec(value.text) : null;
    return match === null
      ? null
      : `reinject: ${match[1]?.includes(':') === true ? `[${match[1]}]` : match[1]}:${match[2]}`;
  });
  tell('$sa_mail_body_size_limit', (value) => {
    const bytes = value.kind === 'text' ? Number(value.text) : 0;
    return bytes >= 1024 ? `limits: { spamBytes: ${Math.ceil(bytes / 1024)}KB }` : null;
  });
  tell('$smtpd_message_size_limit', (value) => {
    const bytes = value.kind === 'text' ? Number(value.text) : 0;
    return bytes >= 1024 ? `limits: { messageBytes: ${Math.ceil(bytes / 1024)}KB }` : null;
  });
  tell('@av_scanners', (value) => clamdLine(value, notes));
  for (const [kind, name] of [
    ['spam', '@bypass_spam_checks_maps'],
    ['virus', '@bypass_virus_checks_maps'],
  ] as const) {
    const place = variables.get(name) ?? null;
    if (settings.bypassedEverywhere[kind])
      notes.add('elsewhere', place, `${name}: no ${kind} check for anybody`, `scan: { ${kind}: false }`);
  }
  const local = ['@local_domains_maps', '@local_domains_acl', '%local_domains']
    .map((name) => variables.get(name))
    .find((value) => value !== undefined);
  if (local !== undefined) {
    notes.add(
      'told',
      local,
      'local domains: what comes to the smtp and lmtp listeners is incoming mail, whatever its domain',
      'feed what the site sends to listen.outbound (docs/postfix.md)',
    );
  }
}

/** The socket of clamd; other scanners are named. */
function clamdLine(value: PerlValue, notes: Notes): string | null {
  const scanners = (value.kind === 'list' ? value.items : []).flatMap((item) =>
    item.kind === 'list' ? [item.items] : [],
  );
  const nameOf = (items: readonly PerlValue[]) => (items[0]?.kind === 'text' ? items[0].text : '?');
  const clamd = scanners.find((items) => /^ClamAV-clamd/i.test(nameOf(items)));
  const others = scanners.map(nameOf).filter((name) => !/clam/i.test(name));
  if (others.length > 0)
    notes.add(
      'never',
      value,
      `virus scanners other than clamd: ${plain(others.slice(0, 8).join(', '))}`,
      'nothing: Sluice asks clamd',
    );
  const [, , query] = clamd ?? [];
  const socket = query?.kind === 'list' ? query.items[1] : undefined;
  const text = socket?.kind === 'text' ? socket.text : '';
  if (/^\/[\w./-]+$/.test(text)) return `clamd: unix:${text}`;
  return /^[\w.-]+:\d{1,5}$/.test(text) ? `clamd: ${text}` : null;
}
