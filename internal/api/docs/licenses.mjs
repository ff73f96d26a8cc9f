// The notices of what is inside the bundle, for build.sh:
//   licenses.mjs list MAP              name@version, one a line, from the bundle's source map
//   licenses.mjs text DIR LIST SCALAR  their notices, as installed in DIR/node_modules
import fs from "node:fs";

const [, , command, ...args] = process.argv;

// Packages that Scalar prebuilt into packages of its own are named only by the
// "#region" comments of the sources, hence the search in those as well.
function list(mapFile) {
  const map = JSON.parse(fs.readFileSync(mapFile, "utf8"));
  const found = new Map();
  for (const text of [...map.sources, ...map.sourcesContent]) {
    for (const [, store, name] of (text ?? "").matchAll(/\.pnpm\/([^/\s]+)\/node_modules\/((?:@[^/\s]+\/)?[^/\s]+)/g)) {
      const version = store.replace(/^@/, "").match(/@([^_(]+)/)[1];
      if ((found.get(name) ?? version) !== version) throw new Error(`two versions of ${name}`);
      found.set(name, version);
    }
  }
  return [...found].map(([name, version]) => `${name}@${version}`).sort().join("\n");
}

const isCopyright = (line) => /copyright (\(c\)|©|\d)|^\s*©/i.test(line);

// A notice is its copyright lines and a body that many packages share word
// for word: the body is printed once, under all that carry it.
function notice(dir) {
  const { license, author } = JSON.parse(fs.readFileSync(`${dir}/package.json`, "utf8"));
  const file = fs.readdirSync(dir).sort().find((name) => /^licen[cs]e(\.|$)/i.test(name));
  if (!file) {
    const by = (author?.name ?? author ?? "(the package names no author)").replace(/ [<(].*@.*/, "");
    return { license, copyright: [by], body: "" };
  }
  const lines = fs.readFileSync(`${dir}/${file}`, "utf8").replace(/\r/g, "").trim().split("\n");
  const prose = license === "Apache-2.0" ? lines : lines.filter((line) => !isCopyright(line));
  return {
    license,
    copyright: lines.filter((line) => isCopyright(line) && !/\[yyyy\]/.test(line)).map((line) => line.trim()),
    body: prose.join("\n").replace(/\n{3,}/g, "\n\n").trim(),
  };
}

function text(dir, packages, scalar) {
  const groups = new Map();
  const words = (body) => body.toLowerCase().replace(/^\W*(the )?mit licen[cs]e( \(mit\))?/, "").replace(/[^a-z]+/g, " ").trim();
  const add = (name, { license, copyright, body }) => {
    const key = license + words(body);
    if (!groups.has(key)) groups.set(key, { license, body, members: [] });
    groups.get(key).members.push([name, ...copyright].join("\n    "));
  };
  for (const name of packages) add(name, notice(`${dir}/node_modules/${name.replace(/@[^@]*$/, "")}`));

  // Scalar's package and a few more carry no licence file: they go under the
  // commonest text of the licence they name.
  const bare = [...groups.values()].filter((group) => !group.body);
  for (const group of bare) {
    groups.delete(group.license);
    const same = [...groups.values()].filter((other) => other.license === group.license);
    same.sort((a, b) => b.members.length - a.members.length)[0].members.push(...group.members);
  }
  const mit = [...groups.values()].filter((group) => group.license === "MIT").sort((a, b) => b.members.length - a.members.length)[0];
  mit.members.unshift(`${scalar}\n    Copyright (c) 2023-present Scalar`);

  return [...groups.values()]
    .sort((a, b) => b.members.length - a.members.length)
    .map(({ license, members, body }) => `${"=".repeat(72)}\n${license}\n\n${members.join("\n")}\n\n${body}\n`)
    .join("\n");
}

if (command === "list") console.log(list(args[0]));
if (command === "text") process.stdout.write(text(args[0], fs.readFileSync(args[1], "utf8").trim().split("\n"), args[2]));
