/** Cuts a byte stream into lines. The plainest way that is right for UTF-8 cut anywhere. */

export function onLines(stream, take) {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line !== "") take(line);
  });
}
