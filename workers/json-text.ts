/**
 * json-text — JSON that may be shown on a terminal: what a stranger wrote into a subject stays text there.
 *
 * JSON itself escapes the control characters below U+0020 only; those of U+007F to U+009F, marks that turn the direction
 * of text and the like are escaped here. It parses to the very same value.
 */

/** The text of JSON with every character that a terminal acts on as `\u` escape. */
export function terminalSafe(json: string): string {
  return json.replaceAll(/[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}
