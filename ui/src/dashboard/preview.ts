// Draws preview pictures into a canvas, always the newest, one at a time.

/** When a picture is being decoded, only the newest of those that arrive meanwhile is kept. */
export class PreviewPainter {
  readonly #canvas: HTMLCanvasElement;
  readonly #onPicture: () => void;
  #next: Uint8Array<ArrayBuffer> | null = null;
  #painting = false;

  constructor(canvas: HTMLCanvasElement, onPicture: () => void) {
    this.#canvas = canvas;
    this.#onPicture = onPicture;
  }

  show(jpeg: Uint8Array<ArrayBuffer>): void {
    this.#next = jpeg;
    if (!this.#painting) void this.#paint();
  }

  async #paint(): Promise<void> {
    this.#painting = true;
    while (this.#next !== null) {
      const blob = new Blob([this.#next], { type: 'image/jpeg' });
      this.#next = null;
      // A picture that does not decode is skipped: the next one comes soon.
      await this.#draw(blob).then(this.#onPicture, () => {});
    }
    this.#painting = false;
  }

  async #draw(blob: Blob): Promise<void> {
    const picture = await createImageBitmap(blob);
    const canvas = this.#canvas;
    if (canvas.width !== picture.width || canvas.height !== picture.height) [canvas.width, canvas.height] = [picture.width, picture.height];
    canvas.getContext('2d')?.drawImage(picture, 0, 0);
    picture.close();
    canvas.dataset.pictures = String(Number(canvas.dataset.pictures ?? 0) + 1);
  }
}
