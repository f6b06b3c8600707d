// Copying text, also where the clipboard API is closed to pages.

/** `field` shows the same text: where nothing else helps, it is left selected. */
export async function copyText(text: string, field: HTMLInputElement | undefined): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    field?.focus();
    field?.select();
    // Deprecated, and the only way in WebKitGTK without a clipboard permission.
    return field !== undefined && document.execCommand('copy');
  }
}
