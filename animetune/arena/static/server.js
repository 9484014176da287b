// What the page asks of the server: JSON there and back, each failure as one of two errors.

const PATIENCE = 20_000; // milliseconds for an answer

/** The server answered, and said no. */
export class Refused extends Error {
  constructor(status, detail, wait) {
    super(detail);
    this.status = status;
    this.wait = wait; // seconds until it may be tried again
  }
}

/** No answer came. */
export class Unreachable extends Error {}

export async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
      redirect: "error",
    });
  } catch {
    throw new Unreachable("The server does not answer.");
  }
  let said = null;
  try {
    said = await answer.json();
  } catch {
    // refusals of the outer layer are plain text
  }
  if (answer.ok && said !== null) return said;
  const detail = typeof said?.detail === "string" ? said.detail : `The server answers ${answer.status}.`;
  throw new Refused(answer.status, detail, Number(answer.headers.get("retry-after")) || 1);
}

/** The pictures of a battle, decoded, so that they are shown at once. */
export async function loadPictures(battle) {
  const images = battle.slots.map((slot, place) => {
    const image = new Image(battle.width, battle.height);
    image.alt = `Picture ${place + 1} of ${battle.slots.length}`;
    image.draggable = false;
    image.src = slot.url;
    return image;
  });
  try {
    await Promise.all(images.map((image) => image.decode()));
  } catch {
    throw new Unreachable("A picture did not arrive.");
  }
  return images;
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
