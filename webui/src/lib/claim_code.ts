/** The claim code as people type it: any case, with spaces or without the dash. */

const LENGTH = 10

/** `ABCDE-FGHJK` of `abcde fghjk`; a provider's code of another length stays as it was typed. */
export function tidyClaimCode(typed: string): string {
  const plain = typed.replace(/[^0-9a-z]/gi, '').toUpperCase()
  return plain.length === LENGTH ? `${plain.slice(0, 5)}-${plain.slice(5)}` : typed.trim()
}
