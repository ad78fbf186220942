/** Time zones to choose from before the box has told its own, and the browser's guess. */

/** The time zone of this browser; `known` is what the box guesses, for a browser that does not tell. */
export function guessTimezone(known: string | undefined): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone || known || 'UTC'
}

/** All zones that this browser knows, by name; `chosen` is always among them. */
export function listTimezones(chosen: string): string[] {
  return [...new Set([...Intl.supportedValuesOf('timeZone'), 'UTC', chosen])].sort()
}
