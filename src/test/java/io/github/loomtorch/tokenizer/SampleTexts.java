package io.github.loomtorch.tokenizer;

import java.util.List;

/**
 * Texts in many scripts, old enough to be anyone's: openings of novels and Article 1 of the Universal Declaration of
 * Human Rights.
 */
final class SampleTexts {

    static final List<String> ENGLISH = List.of("""
            It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. However \
            little known the feelings or views of such a man may be on his first entering a neighbourhood, this truth is so well fixed in \
            the minds of the surrounding families, that he is considered the rightful property of some one or other of their daughters. \
            "My dear Mr. Bennet," said his lady to him one day, "have you heard that Netherfield Park is let at last?" Mr. Bennet replied \
            that he had not. "But it is," returned she; "for Mrs. Long has just been here, and she told me all about it." Mr. Bennet made \
            no answer. "Do you not want to know who has taken it?" cried his wife impatiently. "You want to tell me, and I have no \
            objection to hearing it." This was invitation enough.""", """
            Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or twice she had \
            peeped into the book her sister was reading, but it had no pictures or conversations in it, "and what is the use of a book," \
            thought Alice "without pictures or conversations?" So she was considering in her own mind (as well as she could, for the hot \
            day made her feel very sleepy and stupid), whether the pleasure of making a daisy-chain would be worth the trouble of getting \
            up and picking the daisies, when suddenly a White Rabbit with pink eyes ran close by her. There was nothing so very remarkable \
            in that; nor did Alice think it so very much out of the way to hear the Rabbit say to itself, "Oh dear! Oh dear! I shall be \
            late!" when the Rabbit actually took a watch out of its waistcoat-pocket, and looked at it, and then hurried on, Alice started \
            to her feet.""", """
            Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and nothing particular \
            to interest me on shore, I thought I would sail about a little and see the watery part of the world. It is a way I have of \
            driving off the spleen and regulating the circulation. Whenever I find myself growing grim about the mouth; whenever it is a \
            damp, drizzly November in my soul; whenever I find myself involuntarily pausing before coffin warehouses, and bringing up the \
            rear of every funeral I meet; and especially whenever my hypos get such an upper hand of me, that it requires a strong moral \
            principle to prevent me from deliberately stepping into the street, and methodically knocking people's hats off, then, I \
            account it high time to get to sea as soon as I can.""", """
            Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, and dedicated \
            to the proposition that all men are created equal. Now we are engaged in a great civil war, testing whether that nation, or \
            any nation so conceived and so dedicated, can long endure. We are met on a great battle-field of that war. We have come to \
            dedicate a portion of that field, as a final resting place for those who here gave their lives that that nation might live.""", """
            To Sherlock Holmes she is always the woman. I have seldom heard him mention her under any other name. In his eyes she eclipses \
            and predominates the whole of her sex. It wasn't that he felt any emotion akin to love for Irene Adler. On the night of the \
            20th of March, 1888, I was returning from a journey to a patient (for I'd now returned to civil practice), when my way led me \
            through Baker Street. "Wedlock suits you," he remarked. "I think, Watson, that you've put on seven and a half pounds since I \
            saw you." "Seven!" I answered. "Indeed, I should have thought a little more. Just a trifle more, I fancy, Watson. And in \
            practice again, I observe. You didn't tell me that you intended to go into harness.\"""");

    static final List<String> MULTILINGUAL = List.of(
            "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act"
                    + " towards one another in a spirit of brotherhood.",
            "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander"
                    + " im Geist der Brüderlichkeit begegnen.",
            "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et doivent"
                    + " agir les uns envers les autres dans un esprit de fraternité.",
            "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y conciencia, deben"
                    + " comportarse fraternalmente los unos con los otros.",
            "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i sumieniem i powinni"
                    + " postępować wobec innych w duchu braterstwa.",
            "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı kardeşlik"
                    + " zihniyeti ile hareket etmelidirler.",
            "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi. Mọi con người đều được tạo hoá ban cho lý trí"
                    + " và lương tâm và cần phải đối xử với nhau trong tình anh em.",
            "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в"
                    + " отношении друг друга в духе братства.",
            "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική και συνείδηση,"
                    + " και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης.",
            "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה.",
            "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.",
            "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें"
                    + " भाईचारे के भाव से बर्ताव करना चाहिए।",
            "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
            "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
            "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
            "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
            "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
            "Բոլոր մարդիկ ծնվում են ազատ ու հավասար՝ իրենց արժանապատվությամբ և իրավունքներով։",
            "Great 👍🏽, see you at 10:45 👨‍👩‍👧‍👦 🎉🎉! Price: 1.299,00 € / ¥20,000; x² + y² ≤ z² ∀ x ∈ ℝ.");

    private SampleTexts() {}
}
