/** Copying a text: pages without HTTPS have no clipboard of their own, so a field's selection is copied there. */

/** Copy `text`, which stands in `field`; returns whether it worked (else it stays selected there). */
export async function copyText(text: string, field: HTMLInputElement): Promise<boolean> {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text)
      return true
    } catch (error) {
      console.info('clipboard', error) // not allowed: the older way below
    }
  }
  field.focus()
  field.select()
  return document.execCommand('copy')
}
