export default function About() {
  return <p id="about">about</p>;
}
