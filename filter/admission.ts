/**
 * admission — how many messages may be in flight at once, over all listeners.
 *
 * Overload is shed per message (451 at MAIL), never by refusing connections: Postfix suspends a filter that refuses
 * them for minutes (RELIABILITY R11).
 */

/** A counter with a ceiling: `admit` takes a place and gives back its release, or null when all are taken. */
export type Admission = { readonly admit: () => (() => void) | null; readonly inFlight: () => number };

/** An admission for at most `inFlightMax` messages; a release counts once, however often it is called. */
export function createAdmission(inFlightMax: number): Admission {
  let inFlight = 0;
  return {
    inFlight: () => inFlight,
    admit: () => {
      if (inFlight >= inFlightMax) return null;
      inFlight++;
      let released = false;
      return () => {
        if (!released) inFlight--;
        released = true;
      };
    },
  };
}
