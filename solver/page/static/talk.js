// The socket to the server: errands go out under a number, news and documents come back under it.
const KEY = "shardproof-token";

function token() {
  const parts = new URLSearchParams(location.hash.slice(1));
  if (parts.get("token")) localStorage.setItem(KEY, parts.get("token"));
  return localStorage.getItem(KEY) || "";
}

export class Talk {
  constructor(say) {
    this.say = say;
    this.waiting = new Map();
    this.next = 1;
    this.queue = [];
    this.ready = false;
    this.token = token();
    this.tries = 0;
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(`ws://${location.host}/talk`);
    this.socket.addEventListener("open", () => this.socket.send(JSON.stringify({ token: this.token })));
    this.socket.addEventListener("message", event => this.hear(JSON.parse(event.data)));
    this.socket.addEventListener("close", event => this.closed(event));
  }

  hear(message) {
    if (message.welcome) {
      this.ready = true;
      this.tries = 0;
      this.say("");
      for (const text of this.queue.splice(0)) this.socket.send(text);
      return;
    }
    const found = this.waiting.get(message.id);
    if (!found) return;
    if ("news" in message) { found.news?.(message.news); return; }
    this.waiting.delete(message.id);
    if ("refused" in message) found.refused(message.refused);
    else found.done(message.done, message.seconds);
  }

  closed(event) {
    const lost = [...this.waiting.values()];
    this.ready = false;
    this.waiting.clear();
    this.queue = [];
    for (const item of lost) item.refused("the server is gone");
    if (event.code === 4401) { this.say("This page needs the address that `shardproof page` printed: it holds a token that other pages do not know."); return; }
    this.say(event.reason || "No answer from the server; is `shardproof page` still running? Trying again.");
    setTimeout(() => this.connect(), Math.min(8000, 500 * 2 ** this.tries++));
  }

  // Send an errand; returns a function that stops waiting for it ("stop": it shall end, and say what is known by then).
  ask(kind, options, { done, refused, news }) {
    const id = this.next++;
    this.waiting.set(id, { done, refused, news });
    this.send({ id, kind, options });
    return how => {
      if (how === "stop" ? this.waiting.has(id) : this.waiting.delete(id)) this.send({ id, [how || "leave"]: true });
    };
  }

  send(message) {
    const text = JSON.stringify(message);
    if (this.ready) this.socket.send(text);
    else this.queue.push(text);
  }

  get(kind, options) {
    return new Promise((done, refused) => this.ask(kind, options, { done, refused: words => refused(new Error(words)) }));
  }
}
