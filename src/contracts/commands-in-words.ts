// Commands in our own sentences: the hints of the error table name no instance, for one row is about many.

/** The sentence, with the name of the instance behind each command that needs one and has none. */
export const withName = (text: string, name: string): string =>
  text.replace(/\bholdfast (logs|why|show|history|exec|recover|restart)\b(?! [A-Z])/g, (command) => `${command} ${name}`)
