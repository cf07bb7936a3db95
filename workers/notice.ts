/**
 * notice — mail that Sluice itself composes for the administrator: the one owner of nodemailer.
 *
 * Hides the library and the way: through the return smtpd, as everything that Postfix gets from us, so that no notice is
 * filtered. The envelope sender is null and Auto-Submitted is set (RFC 3834): nobody answers it, no bounce comes back.
 * Rejects where the return smtpd does not take it: whoever sends tries again.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createTransport } from 'nodemailer';
import type { Address } from '../rules/config.ts';

/** Resolves when the return smtpd has taken it. */
export type Notice = (mail: {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
}) => Promise<void>;

const timeoutMs = 30_000;

/** Notices through the return smtpd at `address`, in the name of `hostname`. Connects for each one. */
export function createNotice({ address, hostname }: { address: Address; hostname: string }): Notice {
  return async ({ to, subject, text }) => {
    const way =
      address.kind === 'tcp'
        ? { host: address.host, port: address.port }
        : { connection: await open(address.path) };
    const transport = createTransport({
      ...way,
      name: hostname,
      secure: false,
      ignoreTLS: true,
      connectionTimeout: timeoutMs,
      greetingTimeout: timeoutMs,
      socketTimeout: timeoutMs,
      // Its text is ours and another machine's: no part of it is to name a file or a place.
      disableFileAccess: true,
      disableUrlAccess: true,
    });
    try {
      await transport.sendMail({
        from: { name: 'Sluice', address: `sluice@${hostname}` },
        to: { name: '', address: to },
        messageId: `<${randomUUID()}@${hostname}>`,
        envelope: { from: '', to },
        subject: subject.replaceAll(/\p{Cc}+/gu, ' ').slice(0, 200),
        text,
        headers: { 'Auto-Submitted': 'auto-generated' },
      });
    } finally {
      transport.close();
    }
  };
}

async function open(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  return socket;
}
