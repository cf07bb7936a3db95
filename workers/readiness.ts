/**
 * readiness — whether this process can do its work now, and if not, why.
 *
 * Hides that checks may hang: each has a deadline, askers share one round of them, and its result is good for a second,
 * so that nobody can wear out a database by asking. Never rejects.
 */

/** `hindrances`: what keeps the process from its work, in words; `checks`: `ok`, or what is wrong, by name. */
export type Readiness = {
  readonly ready: boolean;
  readonly hindrances: readonly string[];
  readonly checks: Readonly<Record<string, string>>;
};

/** A look at all checks; `hindrance` (starting, stopping) comes on top of them. */
export function createReadiness(options: {
  readonly checks: Readonly<Record<string, () => Promise<unknown>>>;
  readonly hindrance: () => string | null;
  readonly timeoutMs?: number;
  readonly goodForMs?: number;
  /** A clock that never goes back, milliseconds. */
  readonly clock?: () => number;
}): () => Promise<Readiness> {
  const { checks, hindrance, timeoutMs = 3000, goodForMs = 1000, clock = () => performance.now() } = options;
  let latest: { readonly results: Promise<[string, string][]>; expiresAt: number } | null = null;
  const look = (): Promise<[string, string][]> => {
    const round = Object.entries(checks).map(async ([name, check]): Promise<[string, string]> => {
      return [name, await describe(check, timeoutMs)];
    });
    const current = { results: Promise.all(round), expiresAt: Number.POSITIVE_INFINITY };
    void current.results.then(() => (current.expiresAt = clock() + goodForMs));
    latest = current;
    return current.results;
  };
  return async () => {
    const results = await (latest === null || clock() >= latest.expiresAt ? look() : latest.results);
    const now = hindrance();
    const failed = results.filter(([, result]) => result !== 'ok').map(([name, why]) => `${name}: ${why}`);
    const hindrances = [...(now === null ? [] : [now]), ...failed];
    return { ready: hindrances.length === 0, hindrances, checks: Object.fromEntries(results) };
  };
}

/** `ok`, or why not. */
async function describe(check: () => Promise<unknown>, timeoutMs: number): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`no answer within ${timeoutMs} ms`), timeoutMs);
  });
  try {
    return await Promise.race([check().then(() => 'ok'), late]);
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause);
  } finally {
    clearTimeout(timer);
  }
}
