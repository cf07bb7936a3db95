/**
 * fail — the two exceptions that cross rooms.
 *
 * `TempFail`: try again later (451). `PermFail`: it will never work. Whatever else is thrown counts as TempFail at the
 * pipeline's single catch. Both carry their `cause` for the log; the SMTP client never sees either text.
 */

/** A failure that waiting may cure: the message is deferred. */
export class TempFail extends Error {
  override readonly name = 'TempFail';
}

/** A failure that waiting never cures: decided by policy or told to the caller at once. */
export class PermFail extends Error {
  override readonly name = 'PermFail';
}
