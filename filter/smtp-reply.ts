/**
 * smtp-reply — reads SMTP replies out of whatever octets a peer sends (RFC 5321 §4.2, RFC 2034).
 *
 * Hides lines, continuation lines and how the network cut them. Pure and bounded: a line of at most 4 KiB, a reply of
 * at most 100 lines. What is no reply (another code in the middle, a control character, no code at all) throws
 * TempFail, because a peer that is not understood has accepted nothing and refused nothing.
 */
import { decodeWire } from '../rules/mail.ts';
import type { PeerReply } from '../rules/replies.ts';
import { TempFail } from '../workers/fail.ts';

const lineOctetsMax = 4096;
const linesMax = 100;

export type ReplyParser = {
  /** Takes the next octets and returns the replies that they complete; throws TempFail for what is no reply. */
  push(chunk: Uint8Array): PeerReply[];
  /** True while a reply has begun and is not complete. */
  pending(): boolean;
};

/** A parser for one connection. */
export function createReplyParser(): ReplyParser {
  let unread = Buffer.alloc(0);
  let lines: ReplyLine[] = [];

  function takeLine(octets: Buffer): PeerReply | null {
    const line = parseLine(octets);
    const first = lines[0] ?? line;
    if (line.code !== first.code) throw unreadable(`code changes from ${first.code} to ${line.code}`);
    if (lines.push(line) > linesMax) throw unreadable(`more than ${linesMax} lines`);
    if (!line.last) return null;
    const reply = joinLines(first.code, lines);
    lines = [];
    return reply;
  }

  return {
    push(chunk) {
      const replies: PeerReply[] = [];
      unread = Buffer.concat([unread, chunk]);
      for (let end = unread.indexOf(0x0a); end >= 0; end = unread.indexOf(0x0a)) {
        const reply = takeLine(unread.subarray(0, end));
        unread = unread.subarray(end + 1);
        if (reply !== null) replies.push(reply);
      }
      if (unread.length > lineOctetsMax) throw unreadable(`line of more than ${lineOctetsMax} octets`);
      return replies;
    },
    pending: () => unread.length > 0 || lines.length > 0,
  };
}

type ReplyLine = { code: number; last: boolean; enhanced: string | null; text: string };

function parseLine(octets: Buffer): ReplyLine {
  if (octets.length > lineOctetsMax) throw unreadable(`line of more than ${lineOctetsMax} octets`);
  const line = decodeWire(octets.at(-1) === 0x0d ? octets.subarray(0, -1) : octets);
  const [, code, separator, text] = /^([2-5]\d\d)(?:([ -])(.*))?$/.exec(line) ?? [];
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (code === undefined || /[\0-\x08\x0a-\x1f\x7f]/.test(line))
    throw unreadable(JSON.stringify(line.slice(0, 80)));
  const [prefix, enhanced] = /^([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)/.exec(text ?? '') ?? [''];
  // RFC 3463 §2: the class must agree with the code; where it does not, neither can be trusted.
  const agrees = enhanced !== undefined && enhanced.startsWith(code.charAt(0));
  return {
    code: Number(code),
    last: separator !== '-',
    enhanced: agrees ? enhanced : null,
    text: (text ?? '').slice(prefix.length),
  };
}

/** One reply; its enhanced code counts only where no line contradicts it (RFC 2034 §4 has it on every line). */
function joinLines(code: number, lines: readonly ReplyLine[]): PeerReply {
  const enhanced = lines[0]?.enhanced ?? null;
  const contradicted = lines.some((line) => line.enhanced !== null && line.enhanced !== enhanced);
  return {
    code,
    enhanced: contradicted ? null : enhanced,
    text: lines.map((line) => line.text).join('\n'),
  };
}

function unreadable(what: string): TempFail {
  return new TempFail(`Cannot read a reply of the return smtpd: ${what}`);
}
