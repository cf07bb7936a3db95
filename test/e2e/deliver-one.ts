/**
 * deliver-one — one message through a private Postfix, as a program of its own; prints who got it as JSON.
 *
 * postfix.test.ts runs it where /etc/postfix is bare.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { startPostfix } from '../../demo/postfix.ts';
import { createReachableFolder } from '../../demo/postfix-folders.ts';
import { sendMessage } from '../../demo/samples.ts';

const folder = await createReachableFolder('postfix-test');
const postfix = await startPostfix({
  folder,
  feedProtocol: 'lmtp',
  sluice: '127.0.0.1:9',
  sink: 'maildir',
  contentFilter: false,
});
try {
  const bytes = Buffer.from('Subject: one\r\n\r\ntext\r\n');
  await sendMessage(postfix.feedPort, { sender: '', recipients: ['bob@example.com'], bytes });
  await postfix.waitForQueueEmpty(20_000);
  const recipients = (await postfix.delivered()).map(({ recipient }) => recipient);
  process.stdout.write(JSON.stringify({ mainCf: existsSync('/etc/postfix/main.cf'), recipients }));
} finally {
  await postfix.stop();
  await rm(folder, { recursive: true });
}
