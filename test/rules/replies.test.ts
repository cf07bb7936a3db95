/**
 * replies — which refusals of the return smtpd may be relayed (rule R6), and what our own replies look like.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Judgement, judgeReply, relayReply, replyFor, type Stage } from '../../rules/replies.ts';

const stages: Stage[] = ['greeting', 'ehlo', 'xforward', 'mail', 'rcpt', 'data', 'dot'];

/** `at` is what the reply means at these stages; at every other one it means `elsewhere`. */
const replies: {
  reply: string;
  at: Partial<Record<Stage, Judgement>>;
  elsewhere: Judgement;
  why: string;
}[] = [
  { reply: '220', at: { data: 'misconfigured' }, elsewhere: 'accepted', why: 'a greeting' },
  {
    reply: '250 2.1.5',
    at: { data: 'misconfigured' },
    elsewhere: 'accepted',
    why: 'after 250 to DATA nobody listens',
  },
  { reply: '251 2.1.5', at: { data: 'misconfigured' }, elsewhere: 'accepted', why: 'will forward' },
  {
    reply: '354',
    at: { data: 'accepted' },
    elsewhere: 'misconfigured',
    why: 'after the dot nothing is accepted by it',
  },
  { reply: '421 4.3.2', at: {}, elsewhere: 'temporary', why: 'shutting down' },
  { reply: '450 4.1.1', at: {}, elsewhere: 'temporary', why: 'soft_bounce' },
  { reply: '451 4.3.0', at: {}, elsewhere: 'temporary', why: 'local error' },
  { reply: '452 4.5.3', at: {}, elsewhere: 'temporary', why: 'too many recipients' },
  { reply: '499', at: {}, elsewhere: 'temporary', why: 'every 4xx' },
  { reply: '500 5.5.2', at: {}, elsewhere: 'misconfigured', why: 'not SMTP' },
  { reply: '501 5.1.3', at: {}, elsewhere: 'misconfigured', why: 'bad address syntax: 50x is never relayed' },
  { reply: '503 5.5.1', at: {}, elsewhere: 'misconfigured', why: 'bad sequence' },
  { reply: '504 5.5.2', at: {}, elsewhere: 'misconfigured', why: 'HELO not a name' },
  { reply: '521 5.3.2', at: {}, elsewhere: 'misconfigured', why: 'no mail here' },
  { reply: '530 5.7.0', at: {}, elsewhere: 'misconfigured', why: 'STARTTLS or AUTH first' },
  { reply: '535 5.7.8', at: {}, elsewhere: 'misconfigured', why: 'authentication' },
  {
    reply: '550 5.1.1',
    at: { rcpt: 'refused', dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'user unknown',
  },
  {
    reply: '550 5.1.10',
    at: { rcpt: 'refused', dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'null MX',
  },
  {
    reply: '556 5.1.10',
    at: { rcpt: 'refused', dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'RFC 7504',
  },
  {
    reply: '550 5.2.1',
    at: { rcpt: 'refused', dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'disabled',
  },
  {
    reply: '552 5.2.2',
    at: { rcpt: 'refused', dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'mailbox full',
  },
  {
    reply: '553 5.6.7',
    at: { rcpt: 'refused', dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'no SMTPUTF8 there',
  },
  { reply: '550 5.6.70', at: { dot: 'refused' }, elsewhere: 'misconfigured', why: '5.6.7 is not 5.6.70' },
  { reply: '550 5.11.1', at: { dot: 'refused' }, elsewhere: 'misconfigured', why: '5.1.x is not 5.11.x' },
  {
    reply: '550',
    at: { dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'no enhanced code: may be anything',
  },
  { reply: '550 5.5.1', at: { dot: 'refused' }, elsewhere: 'misconfigured', why: 'protocol' },
  {
    reply: '554 5.7.1',
    at: { dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'relay access denied at RCPT',
  },
  {
    reply: '554 5.6.0',
    at: { dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'content refused at the dot',
  },
  {
    reply: '552 5.3.4',
    at: { mail: 'refused', rcpt: 'refused', data: 'refused', dot: 'refused' },
    elsewhere: 'misconfigured',
    why: 'message too big',
  },
  { reply: '555 5.5.4', at: {}, elsewhere: 'misconfigured', why: 'parameters not known: never relayed' },
  { reply: '600 5.1.1', at: {}, elsewhere: 'misconfigured', why: 'no reply code' },
  { reply: '100', at: {}, elsewhere: 'misconfigured', why: 'no reply code' },
];

for (const { reply, at, elsewhere, why } of replies) {
  test(`judgeReply() ${reply} (${why})`, () => {
    const [code = '', enhanced = null] = reply.split(' ');
    for (const stage of stages) {
      const judgement = judgeReply(stage, { code: Number(code), enhanced, text: 'said the peer' });
      assert.equal(judgement, at[stage] ?? elsewhere, stage);
    }
  });
}

test('judgeReply() accepts nothing that is no number', () => {
  for (const stage of stages) {
    assert.equal(judgeReply(stage, { code: Number.NaN, enhanced: null, text: '' }), 'misconfigured');
  }
});

test('replyFor() takes the class of the enhanced code from the code', () => {
  assert.deepEqual(replyFor('held'), { code: 250, enhanced: '2.0.0', text: 'Ok: held in quarantine' });
  assert.deepEqual(replyFor('scanUnavailable').enhanced, '4.3.0');
  assert.deepEqual(replyFor('returnMisconfigured').enhanced, '4.3.5');
  assert.deepEqual(replyFor('tooLarge').enhanced, '5.3.4');
});

test('replyFor() makes a detail harmless: one line of printable ASCII', () => {
  const { text } = replyFor('delivered', 'queued as 4c7\r\n250 forged\u0000é\u2028x');
  assert.equal(text, 'Ok: handed to the return smtpd: queued as 4c7 250 forged x');
  assert.equal(replyFor('ok', 'x'.repeat(2000)).text.length, 400);
});

const relayed = [
  { label: 'keeps what agrees', enhanced: '5.1.1', expected: '5.1.1' },
  { label: 'fills in what is missing', enhanced: null, expected: '5.0.0' },
  { label: 'replaces another class', enhanced: '4.1.1', expected: '5.0.0' },
  { label: 'replaces what is no code', enhanced: '5.1', expected: '5.0.0' },
  { label: 'replaces a hostile one', enhanced: '5.1.1\r\n250', expected: '5.0.0' },
];

for (const { label, enhanced, expected } of relayed) {
  test(`relayReply() ${label}`, () => {
    const reply = relayReply({ code: 550, enhanced, text: 'User unknown\nin table' });
    assert.deepEqual(reply, { code: 550, enhanced: expected, text: 'User unknown in table' });
  });
}
