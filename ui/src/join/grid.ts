// How big the tiles of a grid can be.

export interface Tiles {
  columns: number;
  width: number;
  height: number;
}

/** The largest tiles, from square to 16:9, of which `count` fit into the space with `gap` between them. */
export function largestTiles(count: number, width: number, height: number, gap: number): Tiles {
  let best: Tiles = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const cell = { width: (width - gap * (columns - 1)) / columns, height: (height - gap * (rows - 1)) / rows };
    if (cell.width <= 0 || cell.height <= 0) continue;
    const tile = { width: Math.min(cell.width, cell.height * WIDEST), height: Math.min(cell.height, cell.width / NARROWEST) };
    if (tile.width * tile.height > best.width * best.height) best = { columns, width: Math.floor(tile.width), height: Math.floor(tile.height) };
  }
  return best;
}

/** Cameras are 16:9; cut to less than a square, a face gets lost. */
const WIDEST = 16 / 9;
const NARROWEST = 1;
