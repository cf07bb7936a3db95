/**
 * regexp-wildcards — a Perl regular expression as patterns with `*` and `?`, as far as that can be said with them.
 *
 * Hides alternatives, groups, small classes and anchors. `within`: the patterns match only what the expression matches,
 * perhaps less. `around`: they match at least what it matches. Bounded by a number of alternatives; it never throws and
 * never runs the expression.
 */

export type Wildcards = {
  readonly patterns: readonly string[];
  /** False where the patterns match less (within) or more (around) than the expression. */
  readonly exact: boolean;
};

type Mode = 'within' | 'around';

const alternativesMax = 200;
const lengthMax = 2000;
const depthMax = 20;
/** What stands for the start, the end and the edge of a word while the pieces are put together. */
const [start, end, edge] = ['\uE000', '\uE001', '\uE002'];

/** The expression in patterns; none where nothing of it can be said (within). */
export function wildcardsOf(pattern: string, flags: string, mode: Mode): Wildcards {
  const spaced = /^\(\?[a-z]*x/.test(pattern) || flags.includes('x');
  const text = spaced
    ? pattern.replaceAll(/\\.|\s+|#.*/g, (part) => (part.startsWith('\\') ? part : ''))
    : pattern;
  const anything = { patterns: mode === 'within' ? [] : ['*'], exact: false };
  if (text.length > lengthMax) return anything;
  const reader = createReader(text, mode);
  const pieces = reader.alternatives(0);
  if (pieces === null || !reader.done()) return anything;
  const patterns = pieces.flatMap((piece) => completed(piece, mode));
  const caseless = flags.includes('i') || /^\(\?[a-z]*i/.test(pattern);
  return { patterns: [...new Set(patterns)], exact: reader.exact() && !(caseless && /[a-z]/i.test(text)) };
}

/** Whether some name could match both patterns. Takes length times length steps. */
export function wildcardsOverlap(a: string, b: string): boolean {
  // reached[j]: what stands before here in `a` and the first j characters of `b` can match the same text.
  let reached: boolean[] = [true];
  for (let i = 0; i <= a.length; i++) {
    const next: boolean[] = [];
    for (let j = 0; j <= b.length; j++) {
      if (reached[j] !== true) continue;
      const [one, other] = [a[i], b[j]];
      if (one === '*' || (other === '*' && one !== undefined)) next[j] = true;
      if (other === '*' || (one === '*' && other !== undefined)) reached[j + 1] = true;
      const same = one === other || one === '?' || other === '?';
      if (one !== undefined && other !== undefined && same) next[j + 1] = true;
    }
    if (i === a.length) return reached[b.length] === true;
    reached = next;
  }
  return false;
}

/** Anchors taken off the ends; where there is none, any run of characters. */
function completed(piece: string, mode: Mode): string[] {
  return withEdges(piece).flatMap((whole) => {
    const body = whole.replace(/^\uE000+/, '').replace(/\uE001+$/, '');
    if (/[\uE000-\uE002]/.test(body)) return mode === 'within' ? [] : ['*'];
    const pattern = `${whole.startsWith(start) ? '' : '*'}${body}${whole.endsWith(end) ? '' : '*'}`;
    return [pattern.replaceAll(/\*{2,}/g, '*')];
  });
}

/** The edge of a word at either end: the name's own end, or one of the usual separators before or behind the word. */
function withEdges(piece: string): string[] {
  const separators = ['.', '-', '/', ':'];
  const fronts = /^\uE002\w/.test(piece)
    ? [start, ...separators].map((one) => one + piece.slice(1))
    : [piece];
  return fronts.flatMap((front) =>
    /\w\uE002$/.test(front) ? [end, ...separators].map((one) => front.slice(0, -1) + one) : [front],
  );
}

function createReader(text: string, mode: Mode) {
  let at = 0;
  let isExact = true;

  function unclear(around: string): string[] {
    isExact = false;
    return mode === 'within' ? [] : [around];
  }

  /** `a|b|c` up to a closing parenthesis or the end; null where there are too many. */
  function alternatives(depth: number): string[] | null {
    const all: string[] = [];
    for (;;) {
      const one = sequence(depth);
      if (one === null || all.length + one.length > alternativesMax) return null;
      all.push(...one);
      if (text.charAt(at) !== '|') return all;
      at++;
    }
  }

  function sequence(depth: number): string[] | null {
    let made = [''];
    while (at < text.length && !/[|)]/.test(text.charAt(at))) {
      const pieces = quantified(depth);
      if (pieces === null || made.length * pieces.length > alternativesMax) return null;
      made = made.flatMap((before) => pieces.map((piece) => before + piece));
    }
    return made;
  }

  function quantified(depth: number): string[] | null {
    const atom = readAtom(depth);
    const quantifier = /(?:[*+?]|\{\d+(?:,\d*)?\})[?+]?/y;
    quantifier.lastIndex = at;
    const found = quantifier.exec(text)?.[0];
    if (found === undefined || atom === null) return atom;
    at += found.length;
    const isAny = atom.length === 1 && atom[0] === '?';
    const exactly = /^\{(\d)\}/.exec(found)?.[1];
    if (found.startsWith('?')) return [...atom, ''];
    if (isAny && found.startsWith('*')) return ['*'];
    if (isAny && found.startsWith('+')) return ['?*'];
    const [only = ''] = atom;
    // Repeated again and again, a text would outgrow the memory.
    const isShort = exactly !== undefined && only.length * Number(exactly) <= lengthMax;
    if (isShort && atom.length === 1) return [only.repeat(Number(exactly))];
    isExact = false;
    if (mode === 'around') return ['*'];
    // Fewer repetitions than the expression takes, and never one that it does not take.
    return found.startsWith('*') ? ['', ...atom] : found.startsWith('+') ? atom : [];
  }

  function readAtom(depth: number): string[] | null {
    const character = text.charAt(at++);
    switch (character) {
      case '^':
        return [start];
      case '$':
        return at === text.length || /[|)]/.test(text.charAt(at)) ? [end] : unclear('*');
      case '.':
        return ['?'];
      case '(':
        return group(depth);
      case '[':
        return charactersOf();
      case '\\':
        return escape();
      case '*':
      case '?':
      case '+':
      case '{':
      case start:
      case end:
      case edge:
        return unclear('*');
      default:
        return [character];
    }
  }

  function group(depth: number): string[] | null {
    const opening = /\?(?:[a-z]*\)|[a-z^-]*:|<?[=!]|[^:)]*[:)>])/y;
    opening.lastIndex = at;
    const found = opening.exec(text)?.[0] ?? '';
    if (depth > depthMax) return null;
    at += found.length;
    if (/^\?[a-z]*\)$/.test(found)) return [''];
    const inner = alternatives(depth + 1);
    if (inner === null || text.charAt(at++) !== ')') return null;
    return found === '' || found.endsWith(':') ? inner : unclear('');
  }

  /** `[@.]`: one of a few characters. */
  function charactersOf(): string[] {
    const found = /\^?\]?(?:\\.|[^\]\\])*\]/y;
    found.lastIndex = at;
    const body = found.exec(text)?.[0];
    if (body === undefined) return unclear('*');
    at += body.length;
    const members = body.slice(0, -1);
    const isPlain = !/^\^|[\w].*-.*[\w]|\\[a-zA-Z\d]|\[:|[*?]/s.test(members);
    const characters = Array.from(members.replaceAll(/\\(.)/gs, '$1'));
    return isPlain && characters.length <= 8 ? characters : unclear('?');
  }

  function escape(): string[] {
    const character = text.charAt(at++);
    if (character === 'A') return [start];
    if (character === 'z' || character === 'Z') return [end];
    if (character === 'b' && mode === 'within') {
      isExact = false;
      return [edge];
    }
    if (/[bBG]/.test(character)) return unclear('');
    if (/\w/.test(character) || character === '') return unclear(/\d/.test(character) ? '*' : '?');
    return character === '*' || character === '?' ? unclear('?') : [character];
  }

  return { alternatives, done: () => at >= text.length, exact: () => isExact };
}
